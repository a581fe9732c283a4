"""The plan in this one process and its children, on all its cores, without Ray. The stages are the same as on Ray."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace

import pyarrow as pa

from operators.base.process_settings import take_long_turns
from pipelines.commits.receipts import Receipt
from pipelines.commits.sink import Sink
from pipelines.run.epochs import Standing
from pipelines.run.pipeline import Pipeline
from pipelines.run.stage import Stage
from pipelines.run.worker import StageWorker
from pipelines.sources.source import Source
from pipelines.sources.work import ShardWork

_TICK_S = 0.2
_AHEAD = 2
"""Finished blocks that wait for an earlier one, for each that is in work: one image that is tried again and again holds
up the order, and not the work."""


def run_local(
    pipeline: Pipeline,
    work: Sequence[ShardWork],
    *,
    cores: int,
    block_rows: int,
    rows_per_fragment: int,
    fragment_interval_s: float,
    on_rows: Callable[[int], None] = lambda rows: None,
    in_work: "InWork | None" = None,
) -> Iterator[Receipt]:
    """One receipt per fragment, in the manifest's order. A fragment has about `rows_per_fragment` rows, or the blocks
    of `fragment_interval_s`. Rows in no receipt cannot be committed, and are lost when the process is killed.

    `pipeline.stages` are sized (`sized_for_threads`). `on_rows` is called for each block with all rows that have left
    the last stage so far; first with 0, when the operators are built. Once `in_work.ending` is set, what is embedded is
    written and nothing else is waited for.
    """
    in_work = in_work or InWork()
    workers = [StageWorker(stage) for stage in pipeline.stages]
    on_rows(0)
    try:
        yield from run_through(
            workers,
            pipeline.sink,
            blocks_of(pipeline.source, work, block_rows),
            cores=cores,
            rows_per_fragment=rows_per_fragment,
            fragment_interval_s=fragment_interval_s,
            on_rows=on_rows,
            in_work=in_work,
        )
    finally:
        in_work.close(workers)


def run_through(
    workers: Sequence[StageWorker],
    sink: Sink,
    blocks: Iterator[pa.Table],
    *,
    cores: int,
    rows_per_fragment: int,
    fragment_interval_s: float,
    on_rows: Callable[[int], None],
    in_work: "InWork",
) -> Iterator[Receipt]:
    """`run_local` of blocks, through operators that are built and that stay open. `on_rows` is called for blocks
    alone."""
    pending: list[pa.Table] = []
    rows = 0
    last_write = time.monotonic()
    for block in _through(workers, blocks, blocks_in_work(cores), in_work):
        if block is not None:
            rows += block.num_rows
            on_rows(rows)
            pending.append(block)
        waited = time.monotonic() - last_write >= fragment_interval_s
        if pending and (waited or sum(b.num_rows for b in pending) >= rows_per_fragment):
            yield sink.write(pa.concat_tables(pending))
            pending, last_write = [], time.monotonic()
    if pending:
        yield sink.write(pa.concat_tables(pending))


class InWork:
    """The blocks that are in work, by their threads, and whether they are to be left."""

    def __init__(self) -> None:
        self.ending = threading.Event()
        """Set to end an execution with what it has."""
        self.threads: list[threading.Thread] = []
        self._at: dict[int, tuple[str, int, float]] = {}
        """Thread -> stage, rows of its block, when that came there."""
        self._moves = 0

    def enter(self, stage: str, rows: int) -> None:
        self._at[threading.get_ident()] = (stage, rows, time.monotonic())
        self._moves += 1

    def leave(self) -> None:
        self._at.pop(threading.get_ident(), None)
        self._moves += 1

    def standing(self) -> Standing:
        """What each stage holds."""
        held: dict[str, list[tuple[int, float]]] = {}
        for stage, rows, since in list(self._at.values()):
            held.setdefault(stage, []).append((rows, since))
        now = time.monotonic()
        text = "; ".join(
            f"stage {stage} holds {len(blocks)} blocks of {sum(rows for rows, _ in blocks):,} rows, the oldest for "
            f"{now - min(since for _, since in blocks):,.0f} s"
            for stage, blocks in held.items()
        )
        return Standing(self._moves, text or "no block has reached a stage")

    def close(self, workers: Sequence[StageWorker]) -> None:
        """Close the operators once no thread uses them. Where the execution is ended early, that is not waited for: a
        slow host may hold a thread."""
        threads, self.threads = self.threads, []

        def end() -> None:
            for thread in threads:
                thread.join()
            for worker in workers:
                worker.close()

        if self.ending.is_set():
            threading.Thread(target=end, daemon=True).start()
        else:
            end()


def blocks_in_work(cores: int) -> int:
    """Blocks that go through the stages at a time: one on each core, and as many again that wait for the network or for
    the process ahead of them."""
    return 2 * cores + 1


def sized_for_threads(stages: Sequence[Stage], cores: int) -> tuple[Stage, ...]:
    """The stages as this process runs them: one worker for each, on all cores."""
    at_a_time = blocks_in_work(cores)
    return tuple(
        replace(
            stage,
            resources=replace(stage.resources, num_actors=1, num_cpus=float(cores), concurrent_blocks=at_a_time),
        )
        for stage in stages
    )


def _through(
    workers: Sequence[StageWorker], blocks: Iterator[pa.Table], at_a_time: int, in_work: InWork
) -> Iterator[pa.Table | None]:
    """The blocks after all stages, in their order; None from time to time while the next one is not done. At an early
    end those that are done, whatever is not before them."""
    given: queue.SimpleQueue[tuple[pa.Table, Future[pa.Table]] | None] = queue.SimpleQueue()
    over = threading.Event()
    # Daemons, unlike those of a pool of concurrent.futures: the end of an interrupted process waits for no slow host.
    arguments = (workers, given, over, in_work)
    in_work.threads = [threading.Thread(target=_work, args=arguments, daemon=True) for _ in range(at_a_time)]
    for thread in in_work.threads:
        thread.start()
    waiting: deque[Future[pa.Table]] = deque()
    try:
        for block in blocks:
            waiting.append(Future())
            given.put((block, waiting[-1]))
            while waiting and (waiting[0].done() or len(waiting) >= at_a_time * _AHEAD) and not in_work.ending.is_set():
                yield from _next(waiting, in_work)
            if in_work.ending.is_set():
                break
        while waiting and not in_work.ending.is_set():
            yield from _next(waiting, in_work)
        for done in waiting:
            if done.done() and done.exception() is None:
                yield done.result()
    finally:
        over.set()
        for _ in in_work.threads:
            given.put(None)


def _next(waiting: deque[Future[pa.Table]], in_work: InWork) -> Iterator[pa.Table | None]:
    while not wait([waiting[0]], timeout=_TICK_S).done:
        if in_work.ending.is_set():
            return
        yield None
    yield waiting.popleft().result()


def _work(
    workers: Sequence[StageWorker],
    given: "queue.SimpleQueue[tuple[pa.Table, Future[pa.Table]] | None]",
    over: threading.Event,
    in_work: InWork,
) -> None:
    """Bring blocks through all stages until there are none, or nobody wants them any more."""
    if not any(worker.on_gpu for worker in workers):
        take_long_turns()
    while (item := given.get()) is not None and not over.is_set():
        (block, future), item = item, None
        try:
            for worker in workers:
                in_work.enter(worker.stage, block.num_rows)
                block = worker(block)
            future.set_result(block)
        except BaseException as error:
            future.set_exception(error)
        finally:
            in_work.leave()


def blocks_of(source: Source, work: Sequence[ShardWork], block_rows: int) -> Iterator[pa.Table]:
    """Blocks of at most `block_rows`, as full as whole reads make them: where few rows are wanted here and there, such
    as those that were slow, they go together."""
    waiting: list[pa.Table] = []
    rows = 0
    for item in work:
        for table in source.read(item, block_rows):
            if rows + table.num_rows > block_rows:
                yield pa.concat_tables(waiting)
                waiting, rows = [], 0
            waiting.append(table)
            rows += table.num_rows
    if waiting:
        yield pa.concat_tables(waiting)
