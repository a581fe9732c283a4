"""A trial of a job: rows drawn all over its source go through the very stages and the very writer of a run, here, into
a table that is thrown away.

What a run takes once is kept apart from what each row takes: operators are built and a first pass starts all that is
started when it is first needed (a decoding process on each core, threads, the kernels of a forward pass), before a
second pass through the same operators is measured.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pyarrow as pa

from operators.storage.stores import NO_OPTIONS
from pipelines.balance.choose import LEAST_ROWS, PASS_ROWS
from pipelines.balance.core_seconds import core_seconds
from pipelines.commits.committer import Committer
from pipelines.commits.receipts import Receipt
from pipelines.commits.sink import Sink
from pipelines.run.local import InWork, blocks_in_work, blocks_of, run_through, sized_for_threads
from pipelines.run.pipeline import Pipeline
from pipelines.run.worker import LOAD, StageWorker
from pipelines.sources.source import Source
from pipelines.sources.work import ShardWork
from pipelines.table.names import TableNames

PARTS = 8
"""Parts of the measured rows, from whose differences the uncertainty is known."""
ROUNDS = 5
"""A trial fills all places of a run at least so many times: once to warm up, and four times to be measured."""
LONG = 3
"""How many times that, where the number of its rows is left to it. Trials that were not as long said 12.8 to 17.6 ms of
CPU a row in five plans of one job, on a shared machine whose pace changes from second to second."""
BLOCK_ROWS = 2 * PASS_ROWS
"""Most rows of a block. Blocks of 16 rows took 3 % more CPU seconds a row than those of a run, with
EfficientNet-Lite0."""
TRIAL_S = 30.0
"""About as long a trial lasts at most, where the number of its rows is left to it."""


@dataclass(frozen=True, kw_only=True)
class TrialPart:
    """Some of the rows that were measured."""

    rows: int
    failed: int
    size_bytes: int
    written_bytes: float
    """Without what its fragment takes however few rows are in it."""
    requests: int
    operator_s: float
    """Seconds in all operators, as if its blocks had gone through them one after the other."""


@dataclass(frozen=True, kw_only=True)
class Used:
    """What something took."""

    seconds: float
    """By the clock."""
    core_s: float | None
    """CPU seconds of this process and those below it; None where they are not told."""


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """What the measured rows took, and what was before them."""

    first: TrialPart | None
    """The rows that went through before: what they are counts, and how long they took does not."""
    parts: tuple[TrialPart, ...]
    """The measured rows in their order."""
    taken: Used
    """By all parts."""
    full: Used
    """The same until no further block was there for a core that was done with one: how busy a run keeps the cores."""
    before: Used
    """To build the operators, and for the rows that went first."""
    fragment_bytes: float = 0.0
    """What a fragment takes on disk, however few rows are in it."""


@dataclass(frozen=True, kw_only=True)
class KeepingSink(Sink):
    """Keeps what it writes."""

    kept: list[pa.Table] = field(default_factory=list)

    def write(self, batch: pa.Table) -> Receipt:
        self.kept.append(batch)
        return super().write(batch)


def rows_to_try(cores: int, core_s: float, block_rows: int) -> int:
    """How many rows make a trial on so many cores, where a row is expected to take `core_s` CPU seconds."""
    places = ROUNDS * blocks_in_work(cores)
    most = int(TRIAL_S * cores / max(core_s, 1e-9))
    return max(min(LONG * places * min(block_rows, BLOCK_ROWS), most), places * min(block_rows, LEAST_ROWS // 2))


def warm_rows(rows: int) -> int:
    """How many of the rows of a trial go first, to warm up."""
    return rows // ROUNDS


def try_out(
    pipeline: Pipeline,
    first: Sequence[ShardWork],
    work: Sequence[ShardWork],
    *,
    cores: int,
    block_rows: int,
    table: str,
    counted: Callable[[int], None],
) -> TrialRun:
    """Run the stages over `first` to warm up, and over `work`; `table` (`DB/NAME`) is a local one that is made for it.
    `counted` is told the rows that are done."""
    names = TableNames.from_table(table)
    Committer.open(names, pipeline.sink.vectors_schema, run_id="trial", storage=NO_OPTIONS)
    sink = KeepingSink(**{**vars(pipeline.sink), "names": names, "storage": NO_OPTIONS})
    trial = replace(pipeline, stages=sized_for_threads(pipeline.stages, cores), sink=sink)
    wanted = sum(each.num_wanted for each in work)
    block_rows = max(1, min(block_rows, BLOCK_ROWS, wanted // ((ROUNDS - 1) * blocks_in_work(cores))))
    blocks = [_drawn(trial.source, some, block_rows) for some in (first, work)]
    stopwatch, in_work = Stopwatch(), InWork()
    workers = [StageWorker(stage) for stage in trial.stages]
    try:
        warm = _Pass(workers, sink, cores, counted, in_work)
        warm.run(blocks[0])
        before = stopwatch.read()
        measured = _Pass(workers, sink, cores, lambda rows: counted(warm.rows + rows), in_work)
        measured.run(blocks[1], full_until=wanted - block_rows * blocks_in_work(cores))
    finally:
        in_work.close(workers)
    each, written = _written(sink, warm.rows)
    parts = tuple(_part(receipt, each) for receipt in written)
    split = 1 if warm.rows else 0
    return TrialRun(
        first=parts[0] if split else None,
        parts=parts[split:],
        taken=measured.taken,
        full=measured.full,
        before=before,
        fragment_bytes=each,
    )


def _drawn(source: Source, work: Sequence[ShardWork], block_rows: int) -> Iterator[pa.Table]:
    """Rows of a manifest are read beforehand: of a run's reading, which takes whole row groups, few drawn ones would
    bear the cost of many. Where rows hold images, reading them is work of a run, and they are read on the way."""
    blocks = blocks_of(source, work, block_rows)
    if source.columns.image is not None:
        return blocks
    read = list(blocks)
    if not read:
        return iter(())
    rows = pa.concat_tables(read)
    return (rows.slice(at, block_rows) for at in range(0, rows.num_rows, block_rows))


class Stopwatch:
    """What is taken from now on."""

    def __init__(self) -> None:
        self._started, self._spent = time.monotonic(), core_seconds()

    def read(self) -> Used:
        spent = core_seconds()
        core_s = None if spent is None or self._spent is None else spent - self._spent
        return Used(seconds=time.monotonic() - self._started, core_s=core_s)


class _Pass:
    """Blocks through the operators, and what they took."""

    def __init__(
        self,
        workers: Sequence[StageWorker],
        sink: KeepingSink,
        cores: int,
        counted: Callable[[int], None],
        in_work: InWork,
    ) -> None:
        self._workers, self._sink, self._cores = workers, sink, cores
        self._counted, self._in_work = counted, in_work
        self.rows = 0
        self.taken = self.full = Used(seconds=0.0, core_s=None)

    def run(self, blocks: Iterator[pa.Table], full_until: int = 0) -> None:
        """`full_until`: the rows that are done when the last block is begun."""
        stopwatch = Stopwatch()
        full: Used | None = None

        def on_rows(done: int) -> None:
            nonlocal full
            self.rows = done
            if full is None and done >= full_until:
                full = stopwatch.read()
            self._counted(done)

        receipts = run_through(
            self._workers,
            self._sink,
            blocks,
            cores=self._cores,
            rows_per_fragment=1 << 40,
            fragment_interval_s=3600.0,
            on_rows=on_rows,
            in_work=self._in_work,
        )
        for _ in receipts:
            pass
        self.taken = stopwatch.read()
        self.full = full or self.taken


def _written(sink: KeepingSink, first: int) -> tuple[float, list[Receipt]]:
    """All rows written once more, the `first` ones and the others in parts: what a fragment of each takes by itself,
    which is by how much they take more than all rows in one, and the receipts."""
    if not sink.kept:
        return 0.0, []
    rows = pa.concat_tables(sink.kept)
    size = max(-(-(rows.num_rows - first) // PARTS), 1)
    cuts = [0, *range(first or size, rows.num_rows, size), rows.num_rows]
    receipts = [sink.write(rows.slice(low, high - low)) for low, high in pairwise(cuts)]
    if len(receipts) < 2:
        return 0.0, receipts
    more = sum(receipt.written_bytes for receipt in receipts) - sink.write(rows).written_bytes
    return max(more, 0.0) / (len(receipts) - 1), receipts


def _part(receipt: Receipt, fragment_bytes: float) -> TrialPart:
    failed = len(receipt.failure_keys)
    return TrialPart(
        rows=len(receipt.vector_keys) + failed + len(receipt.skipped_keys),
        failed=failed,
        size_bytes=receipt.size_bytes,
        written_bytes=max(receipt.written_bytes - fragment_bytes, 0.0),
        requests=receipt.requests,
        operator_s=sum(spent for name, spent in receipt.seconds.items() if not name.startswith(LOAD)),
    )
