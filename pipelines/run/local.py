"""The plan in this one process, block after block: for debugging, small runs and tests. The stages are the same as on
Ray."""

import time
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from pipelines.commits.receipts import Receipt
from pipelines.run.pipeline import Pipeline
from pipelines.run.worker import StageWorker
from pipelines.sources.work import ShardWork


def run_local(
    pipeline: Pipeline,
    work: Sequence[ShardWork],
    *,
    block_rows: int,
    rows_per_fragment: int,
    fragment_interval_s: float,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Iterator[Receipt]:
    """One receipt per fragment, in the manifest's order. A fragment has about `rows_per_fragment` rows, or the blocks
    of `fragment_interval_s`. Rows in no receipt cannot be committed, and are lost when the process is killed.

    `on_rows` is called for each block with all rows that have left the last stage so far; first with 0, when the
    operators are built.
    """
    workers = [StageWorker(stage) for stage in pipeline.stages]
    pending: list[pa.Table] = []
    rows = 0
    on_rows(0)
    last_write = time.monotonic()
    try:
        for block in _blocks(pipeline, work, block_rows):
            for worker in workers:
                block = worker(block)
            rows += block.num_rows
            on_rows(rows)
            pending.append(block)
            waited = time.monotonic() - last_write >= fragment_interval_s
            if waited or sum(b.num_rows for b in pending) >= rows_per_fragment:
                yield pipeline.sink.write(pa.concat_tables(pending))
                pending, last_write = [], time.monotonic()
        if pending:
            yield pipeline.sink.write(pa.concat_tables(pending))
    finally:
        for worker in workers:
            worker.close()


def _blocks(pipeline: Pipeline, work: Sequence[ShardWork], block_rows: int) -> Iterator[pa.Table]:
    for item in work:
        yield from pipeline.source.read(item, block_rows)
