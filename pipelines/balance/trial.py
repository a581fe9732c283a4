"""A trial of a job: rows drawn all over its source go through the very stages and the very writer of a run, here, into
a table that is thrown away."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from operators.storage.stores import NO_OPTIONS
from pipelines.balance.choose import PASS_ROWS
from pipelines.balance.core_seconds import core_seconds
from pipelines.commits.committer import Committer
from pipelines.commits.receipts import Receipt
from pipelines.commits.sink import Sink
from pipelines.run.local import run_local, sized_for_threads
from pipelines.run.pipeline import Pipeline
from pipelines.run.worker import LOAD
from pipelines.sources.work import ShardWork
from pipelines.table.names import TableNames

PARTS = 8
"""Parts of a trial, from whose differences its uncertainty is known."""
LEAST_PART = 8


@dataclass(frozen=True, kw_only=True)
class TrialPart:
    """Some of the trial's rows."""

    rows: int
    failed: int
    seconds: float
    """By the clock, since the part before."""
    core_s: float | None
    """CPU seconds of this process and those below it in that time; None where they are not told."""
    size_bytes: int
    written_bytes: float
    """Without what its fragment takes however few rows are in it."""
    requests: int
    operator_s: float
    """Seconds in all operators, as if its blocks had gone through them one after the other."""


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """The parts in their order. How long each took by the clock says little: while one is written, blocks of the next
    are in work."""

    parts: tuple[TrialPart, ...]
    startup_s: float
    """To build the operators: to load the model, to start the process that decodes."""
    fragment_bytes: float = 0.0
    """What a fragment takes on disk, however few rows are in it."""


@dataclass(frozen=True, kw_only=True)
class KeepingSink(Sink):
    """Keeps what it writes."""

    kept: list[pa.Table] = field(default_factory=list)

    def write(self, batch: pa.Table) -> Receipt:
        self.kept.append(batch)
        return super().write(batch)


def try_out(
    pipeline: Pipeline,
    work: Sequence[ShardWork],
    *,
    cores: int,
    block_rows: int,
    table: str,
    counted: Callable[[int], None],
) -> TrialRun:
    """Run the stages over `work`; `table` (`DB/NAME`) is a local one that is made for it. `counted` is told the rows
    that are done."""
    names = TableNames.from_table(table)
    Committer.open(names, pipeline.sink.vectors_schema, run_id="trial", storage=NO_OPTIONS)
    rows = sum(each.num_wanted for each in work)
    part_rows = max(LEAST_PART, rows // PARTS)
    sink = KeepingSink(**{**vars(pipeline.sink), "names": names, "storage": NO_OPTIONS})
    trial = replace(pipeline, stages=sized_for_threads(pipeline.stages, cores), sink=sink)
    started = clock = time.monotonic()
    startup_s = 0.0
    spent = core_seconds()

    def on_rows(done: int) -> None:
        nonlocal startup_s, clock, spent
        if not done:
            clock, spent = time.monotonic(), core_seconds()
            startup_s = clock - started
        counted(done)

    parts = []
    receipts = run_local(
        trial,
        work,
        cores=cores,
        # Small blocks, so that the end does not wait long for one core with the last of them.
        block_rows=max(1, min(block_rows, part_rows // 2, PASS_ROWS)),
        rows_per_fragment=part_rows,
        fragment_interval_s=3600.0,
        on_rows=on_rows,
    )
    for receipt in receipts:
        now, cores_now = time.monotonic(), core_seconds()
        used = None if spent is None or cores_now is None else cores_now - spent
        parts.append(_part(receipt, now - clock, used))
        clock, spent = now, cores_now
    each = _fragment_bytes(sink, parts)
    net = (replace(part, written_bytes=max(part.written_bytes - each, 0.0)) for part in parts)
    return TrialRun(parts=tuple(net), startup_s=startup_s, fragment_bytes=each)


def _fragment_bytes(sink: KeepingSink, parts: Sequence[TrialPart]) -> float:
    """By how much the parts take more than all of their rows in one fragment."""
    if len(parts) < 2:
        return 0.0
    whole = sink.write(pa.concat_tables(sink.kept)).written_bytes
    return max(sum(part.written_bytes for part in parts) - whole, 0.0) / (len(parts) - 1)


def _part(receipt: Receipt, seconds: float, core_s: float | None) -> TrialPart:
    failed = len(receipt.failure_keys)
    return TrialPart(
        rows=len(receipt.vector_keys) + failed + len(receipt.skipped_keys),
        failed=failed,
        seconds=seconds,
        core_s=core_s,
        size_bytes=receipt.size_bytes,
        written_bytes=receipt.written_bytes,
        requests=receipt.requests,
        operator_s=sum(spent for name, spent in receipt.seconds.items() if not name.startswith(LOAD)),
    )
