"""An embed run on stderr: how many rows are done, how fast, and what bounds it."""

import time

from jobs.reports.tally import Tally
from jobs.session.progress import Progress, duration
from pipelines.commits.receipts import Receipt
from pipelines.run.stage import Stage


class RunProgress(Progress):
    """Draws a `Tally`. `embedded` is called from the executor's thread, all else from the run's own."""

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally()
        self.stages: tuple[Stage, ...] = ()
        self.total = self.done_before = 0
        self.models = ""
        """What workers load."""
        self.waits_since = time.monotonic()
        self.rows_before_execution = self.rows_at_last_stage = 0

    def plan(self, *, total: int, done: int, stages: tuple[Stage, ...], models: str = "") -> None:
        self.total, self.done_before, self.stages, self.models = total, done, stages, models

    def new_execution(self) -> None:
        """A new execution has begun: its own row counter starts from zero, on top of what is written."""
        self.rows_before_execution, self.rows_at_last_stage = self.tally.rows, 0
        self.waits_since = time.monotonic()

    def embedded(self, rows: int) -> None:
        """The number of rows that have left the last stage of this execution, written or not; 0 when the first block
        goes in."""
        self.tally.flowing()
        self.rows_at_last_stage = rows

    def receipt(self, receipt: Receipt) -> None:
        new = receipt.extra_counts.keys() - self.tally.extra_counts.keys()
        self.tally.received(receipt)
        for extra in sorted(new):
            self.note(f"so far {self.tally.about_extra(extra)}; more of their kind will fail too")

    def tick(self) -> None:
        """Draw. Cheap; called several times a second."""
        self.counted(self.line(), self._done() / self.total if self.total else None)

    def line(self) -> str:
        done = self._done()
        seen = done - self.done_before
        text = f"{done:,} of {self.total:,} done, {self.tally.failed:,} failed"
        if not seen or self.tally.first_block is None:
            return f"{text}, {self._waits_for()}, {duration(time.monotonic() - self.waits_since)} so far"
        rate = seen / max(time.monotonic() - self.tally.first_block, 1.0)
        text += f", {rate:,.1f} images/s, {duration(max(self.total - done, 0) / rate)} left"
        bound = self.tally.busiest(self.stages)
        return f"{text}, bound by {bound}" if bound else text

    def _done(self) -> int:
        return self.done_before + max(self.rows_before_execution + self.rows_at_last_stage, self.tally.rows)

    def _waits_for(self) -> str:
        if self.tally.first_block is not None:
            return "waiting for the first images to come out of the last stage"
        loaded = f" and load {self.models}: libraries, weights, canary images" if self.models else ""
        return f"waiting for workers, which start{loaded}"
