"""What a run shows on stderr: one live line for a person, plain lines at intervals for a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from jobs.reports.tally import Tally
from pipelines.commits.receipts import Receipt
from pipelines.run.stage import Stage

LINE_INTERVAL_S = 10.0


class Progress:
    """Draws a `Tally`. `embedded` is called from the executor's thread, all else from the run's own."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.status("starting", spinner="line") if self.console.is_terminal else None
        self.stages: tuple[Stage, ...] = ()
        self.total = self.done_before = 0
        self.rows_before_execution = self.rows_at_last_stage = 0
        self.last_line = time.monotonic()

    def __enter__(self) -> "Progress":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def note(self, text: str) -> None:
        """One plain line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def phase(self, text: str) -> None:
        """What goes on before rows flow."""
        if self.live:
            self.live.update(text)
        else:
            self.note(text)

    def counted(self, text: str) -> None:
        """How far a job without images is: at once for a person, at intervals in a log."""
        if self.live:
            self.live.update(text)
        elif time.monotonic() - self.last_line >= LINE_INTERVAL_S:
            self.last_line = time.monotonic()
            self.note(text)

    def plan(self, *, total: int, done: int, stages: tuple[Stage, ...]) -> None:
        self.total, self.done_before, self.stages = total, done, stages

    def new_execution(self) -> None:
        """The executor's own row counter starts from zero, on top of what is written."""
        self.rows_before_execution, self.rows_at_last_stage = self.tally.rows, 0

    def embedded(self, rows: int) -> None:
        """Rows that have left the last stage of this execution, written or not; 0 when the first block goes in."""
        self.tally.flowing()
        self.rows_at_last_stage = rows

    def receipt(self, receipt: Receipt) -> None:
        self.tally.received(receipt)

    def tick(self) -> None:
        """Draw. Cheap; called several times a second."""
        if self.live:
            self.live.update(self.line())
        elif time.monotonic() - self.last_line >= LINE_INTERVAL_S:
            self.last_line = time.monotonic()
            self.note(self.line())

    def line(self) -> str:
        seen = max(self.rows_before_execution + self.rows_at_last_stage, self.tally.rows)
        done = self.done_before + seen
        text = f"{done:,} of {self.total:,} done, {self.tally.failed:,} failed"
        if not seen or self.tally.first_block is None:
            return f"{text}, starting workers"
        rate = seen / max(time.monotonic() - self.tally.first_block, 1.0)
        text += f", {rate:,.1f} images/s, {duration(max(self.total - done, 0) / rate)} left"
        bound = self.tally.busiest(self.stages)
        return f"{text}, bound by {bound}" if bound else text


@contextmanager
def working(text: str) -> Iterator[None]:
    """Shows on stderr that something takes a while: a spinner for a person, one line for a log."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.print(text, markup=False)
        yield
        return
    with console.status(text, spinner="line"):
        yield


def duration(seconds: float) -> str:
    """`2 h 05 min`, `3 min 20 s`, `7 s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
