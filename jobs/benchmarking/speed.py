"""What a model costs: time to embed, money, and time to search."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs.benchmarking.config import BenchmarkConfig
from jobs.benchmarking.measure import Judged
from jobs.benchmarking.models import Contestant
from jobs.benchmarking.results import IndexTimeResult, QueryTimeResult, SpeedResult
from jobs.benchmarking.sample import DrawnImages
from jobs.benchmarking.vectors import Embedded
from jobs.planning.index_plan import index_plan
from operators.base.arrays import vector_field
from pipelines.balance.costs import HANDLING_S, RowCosts
from pipelines.evaluation.query_times import IndexTime, QueryTime, StoredForm, query_times
from pipelines.table.table import Table

QUERIES = 300
"""That are timed of each way of storing vectors, at most."""


def speed_of(config: BenchmarkConfig, model: Contestant, embedded: Embedded, drawn: DrawnImages) -> SpeedResult:
    """How fast images become vectors, and what a million of them cost."""
    cores = config.cluster.cores_here
    forward_s = model.column.forward_s
    if forward_s is not None and embedded.forward_core_s is not None:
        # What is known of the model beforehand is of a few canary images, perhaps on a busier day.
        forward_s = embedded.forward_core_s
    if forward_s is None or config.cluster.device == "cuda":
        forward_s = 1 / embedded.images_per_s if embedded.images_per_s else 0.0
    if config.cluster.device == "cuda":
        # Cores decode beside the GPU, and the slower of the two holds the other up.
        rate = 1 / max(forward_s, (drawn.decode_s + HANDLING_S) / cores)
    else:
        rate = RowCosts(decode_s=drawn.decode_s, forward_s=forward_s, pixel_bytes=0).images_per_s(cores)
    return SpeedResult(
        decode_ms=1000 * drawn.decode_s,
        forward_ms=1000 * forward_s,
        forward_images_per_s=embedded.images_per_s,
        images_per_s=rate,
        index_bytes=index_plan(vector_field(model.column.model.dim, pa.float16()), 1_000_000).bytes,
        cost_per_million=None if config.price is None else config.price * 1e6 / rate / 3600,
    )


def with_query_times(judged: Judged, unit: np.ndarray, config: BenchmarkConfig, folder: str) -> Judged:
    """With how long a query takes in a table of the images' vectors, (N, D) float32 of unit length, or of as many rows
    as are asked for."""
    forms = [
        StoredForm(name=each.name, codec=each.codec, shorten=each.shorten, rescored=each.rescored)
        for each in judged.forms
    ]
    database = f"{folder}/queried"
    rows = max(config.rows or len(unit), len(unit))
    try:
        found = query_times(Table.of(f"{database}/table"), unit, forms, rows=rows, queries=QUERIES, seed=config.seed)
    finally:
        shutil.rmtree(database, ignore_errors=True)
    stored = [
        each.model_copy(update={"query": _query(found.forms[each.name], rows)})
        for each in judged.result.representations
    ]
    update: dict[str, object] = {"representations": stored}
    if judged.result.speed is not None:
        index = None if found.index is None else _index(found.index, rows)
        timed = {"query": _query(found.forms[forms[0].name], rows), "index": index, "no_index": found.no_index}
        update["speed"] = judged.result.speed.model_copy(update=timed)
    return replace(judged, result=judged.result.model_copy(update=update))


def _query(time: QueryTime, rows: int) -> QueryTimeResult:
    return QueryTimeResult(rows=rows, queries=time.queries, p50_ms=time.latency.p50_ms, p99_ms=time.latency.p99_ms)


def _index(index: IndexTime, rows: int) -> IndexTimeResult:
    return IndexTimeResult(
        type=index.type,
        query=_query(index.time, rows),
        bytes=index.size_bytes,
        recall=index.recall,
        build_seconds=index.build_s,
    )
