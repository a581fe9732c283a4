"""The first rows of a job fetched and decoded here and timed: what a row costs before the job begins."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from operators.base.columns import SECONDS_PREFIX
from operators.base.operator import OperatorConfig
from operators.base.rows import good_rows
from operators.fetch import FetchConfig
from pipelines.run.pipeline import Pipeline
from pipelines.run.stage import Resources, Stage
from pipelines.run.worker import StageWorker
from pipelines.sources.work import ShardWork

FIRST_ROWS, ROWS = 8, 32
"""Rows of a first and of a second block."""
OBJECT_S = 5.0
"""Seconds after which an object is given up: a pilot has something to say soon, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds of one row, all its regions together, and how many rows gave them."""

    rows: int
    latency_s: float
    """From the first request to the last byte of a few rows side by side: what more of them side by side hide."""
    fetch_s: float
    """By which each further row made a block later: what bandwidth or the reader itself takes, and nothing hides."""
    decode_s: float


def pilot(pipeline: Pipeline, work: Sequence[ShardWork]) -> Measured | None:
    """None where no row of the first ones could be read and decoded (a run says why, row by row), and for a source that
    has its vectors already."""
    operators = _before_models([operator for stage in pipeline.stages for operator in stage.operators])
    blocks = _blocks(pipeline, work) if operators else []
    if not blocks:
        return None
    worker = StageWorker(Stage(name="pilot", operators=operators, resources=Resources(num_actors=1)))
    try:
        done = [_timed(worker, block) for block in blocks]
    finally:
        worker.close()
    good = sum(rows for rows, _, _ in done)
    if not good:
        return None
    (few, few_s, _), (_, more_s, _) = done[0], done[-1]
    further = blocks[-1].num_rows - blocks[0].num_rows
    return Measured(
        rows=good,
        latency_s=few_s,
        fetch_s=max(more_s - few_s, 0.0) / further if further > 0 else few_s / max(few, 1),
        decode_s=sum(seconds for _, _, seconds in done) / good,
    )


def _before_models(operators: Sequence[OperatorConfig]) -> tuple[OperatorConfig, ...]:
    return tuple(_impatient(operator) for operator in operators if operator.name in ("fetch", "decode"))


def _impatient(operator: OperatorConfig) -> OperatorConfig:
    if not isinstance(operator, FetchConfig):
        return operator
    return operator.model_copy(update={"retry_s": 0.0, "object_s": min(operator.object_s, OBJECT_S)})


def _blocks(pipeline: Pipeline, work: Sequence[ShardWork]) -> list[pa.Table]:
    for item in work:
        rows = next(iter(pipeline.source.read(item, FIRST_ROWS + ROWS)), None)
        if rows is not None and rows.num_rows:
            return [block for block in (rows[:FIRST_ROWS], rows[FIRST_ROWS:]) if block.num_rows]
    return []


def _timed(worker: StageWorker, block: pa.Table) -> tuple[int, float, float]:
    """(good rows, seconds to fetch the block, seconds to decode it)."""
    started = time.perf_counter()
    done = worker(block)
    whole = time.perf_counter() - started
    decode_s = sum(done[SECONDS_PREFIX + "decode"].to_pylist())
    return int(good_rows(done).to_numpy().sum()), whole - decode_s, decode_s
