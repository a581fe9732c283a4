"""How long one query takes by each way of storing vectors, in a table that is made for it: by the searches that
`pixlake search` does, one query at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import lance
import numpy as np
import pyarrow as pa

from operators.storage.stores import NO_OPTIONS
from operators.vectors.binary_codes import BinaryCodec
from operators.vectors.codecs import Codec
from pipelines.evaluation.ways import EXACT
from pipelines.index.build import IndexWork, SearchGoal, find_truth
from pipelines.index.exact import draw_queries
from pipelines.index.plan import few, plan_indexes
from pipelines.index.publish import build_index
from pipelines.neighbours.latency import Latency, latency, milliseconds
from pipelines.search.column import SearchColumn
from pipelines.search.nearest import Probe, nearest
from pipelines.space.flat import Metric
from pipelines.table.errors import RecallError
from pipelines.table.table import Table
from pipelines.table.tasks import tasks_here

K = 10
MOST_S = 3.0
"""Seconds after which no more queries of a way are timed."""
TARGET = 0.95
"""The index recall that an index is searched with."""
INDEX_QUERIES = 200
"""Queries by which that is found."""
LEAST_OWN = 0.5
"""A made row has from half to all of one vector of the sample in it, the rest of another."""
_BATCH_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class StoredForm:
    """One way of storing vectors."""

    name: str
    codec: Codec
    shorten: Callable[[np.ndarray], np.ndarray]
    """From full vectors, (N, D) float32 of unit length, to those that the codec stores."""
    rescored: bool = False
    """Whether candidates by the codes are ordered anew by the full vectors: those of the first form."""


@dataclass(frozen=True, kw_only=True)
class QueryTime:
    """How long a query for the ten nearest takes."""

    latency: Latency
    queries: int
    """That were timed, one after the other."""


@dataclass(frozen=True, kw_only=True)
class IndexTime:
    """The same through an index on the full vectors."""

    type: str
    time: QueryTime
    size_bytes: int
    recall: float
    """Index recall@10."""
    build_s: float


@dataclass(frozen=True, kw_only=True)
class QueryTimes:
    """Of a table of `rows` rows."""

    rows: int
    forms: dict[str, QueryTime]
    """Name of the form -> comparing with every row."""
    index: IndexTime | None
    no_index: str = ""
    """Why there is none."""


def query_times(
    table: Table, unit_ND: np.ndarray, forms: Sequence[StoredForm], *, rows: int, queries: int, seed: int
) -> QueryTimes:
    """Make `table`, which is not there yet, of (N, D) float32 unit vectors; rows beyond N are made of two of them each.
    The first form is that of the full vectors."""
    columns = [_search_column(f"form_{number}", form) for number, form in enumerate(forms)]
    dataset = _written(table, unit_ND, forms, columns, rows, seed)
    asked = np.random.default_rng(seed).permutation(len(unit_ND))[:queries]
    found = {
        form.name: _timed(dataset, column, form, columns[0], unit_ND[asked])
        for form, column in zip(forms, columns, strict=True)
    }
    if few(rows, dataset.schema.field(columns[0].name).type):
        return QueryTimes(rows=rows, forms=found, index=None, no_index="none needed")
    index = _indexed(table, dataset, columns[0], forms[0], unit_ND[asked], seed)
    return QueryTimes(rows=rows, forms=found, index=index, no_index="" if index else f"none finds {TARGET:.0%}")


def _search_column(name: str, form: StoredForm) -> SearchColumn:
    metric: Metric = "hamming" if isinstance(form.codec, BinaryCodec) else "cosine"
    return SearchColumn(name, form.codec, None, False, NO_OPTIONS, metric)


def _written(
    table: Table,
    unit_ND: np.ndarray,
    forms: Sequence[StoredForm],
    columns: Sequence[SearchColumn],
    rows: int,
    seed: int,
) -> "lance.LanceDataset":
    schema = pa.schema(
        [
            pa.field(column.name, pa.list_(form.codec.value_type, form.codec.width))
            for form, column in zip(forms, columns, strict=True)
        ]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for vectors in rows_like(unit_ND, rows, seed):
            codes = (form.codec.encode(form.shorten(vectors)) for form in forms)
            arrays = [
                pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(code).reshape(-1)), code.shape[1])
                for code in codes
            ]
            yield pa.record_batch(arrays, schema=schema)

    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), table.uri)
    return table.latest()


def rows_like(unit_ND: np.ndarray, rows: int, seed: int) -> Iterator[np.ndarray]:
    """`rows` vectors of unit length, (M, D) float32 at a time: first those that are given, then sums of two of them
    each. They lie where the given ones lie; how near each other they are is not what more images would be."""
    yield unit_ND[:rows]
    random = np.random.default_rng(seed)
    for start in range(len(unit_ND), rows, _BATCH_ROWS):
        count = min(_BATCH_ROWS, rows - start)
        one, other = random.integers(0, len(unit_ND), (2, count))
        own = random.uniform(LEAST_OWN, 1.0, (count, 1)).astype(np.float32)
        mixed = own * unit_ND[one] + (1 - own) * unit_ND[other]
        lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
        # Two that are opposite leave nothing.
        yield np.where(lengths > 1e-6, mixed / np.maximum(lengths, 1e-6), unit_ND[one])


def _timed(
    dataset: "lance.LanceDataset", column: SearchColumn, form: StoredForm, full: SearchColumn, queries_QD: np.ndarray
) -> QueryTime:
    brought = form.shorten(queries_QD)

    def search(at: int) -> object:
        rescore = (full, queries_QD[at : at + 1]) if form.rescored else None
        return nearest(dataset, column, brought[at : at + 1], K, probe=EXACT, rescore=rescore)

    return _of(search, len(queries_QD))


def _of(search: Callable[[int], object], queries: int) -> QueryTime:
    search(0)
    taken = milliseconds(search, queries, most_s=MOST_S)
    return QueryTime(latency=latency(taken), queries=len(taken))


def _indexed(
    table: Table,
    dataset: "lance.LanceDataset",
    column: SearchColumn,
    form: StoredForm,
    queries_QD: np.ndarray,
    seed: int,
) -> IndexTime | None:
    """The index that `pixlake index` builds on the full vectors; None where none finds enough."""
    rows, field = dataset.count_rows(), dataset.schema.field(column.name)
    work = IndexWork(table=table, dataset=dataset, execute=tasks_here, workers=1)
    truth = find_truth(work, column.name, column.metric, draw_queries(dataset, column.name, INDEX_QUERIES, seed))
    specs = plan_indexes(field, wanted="auto", metric=column.metric, rows=rows, seed=seed, given={})
    try:
        record, _ = build_index(work, specs, truth, SearchGoal(target=TARGET), space={})
    except RecallError:
        return None
    probe, there = Probe(nprobes=record.nprobes, refine=record.refine), table.latest()
    brought = form.shorten(queries_QD)
    search = partial(_probed, there, column, brought, probe)
    return IndexTime(
        type=record.type,
        time=_of(search, len(brought)),
        size_bytes=record.size_bytes,
        recall=record.recall,
        build_s=record.seconds,
    )


def _probed(
    dataset: "lance.LanceDataset", column: SearchColumn, brought_QD: np.ndarray, probe: Probe, at: int
) -> object:
    return nearest(dataset, column, brought_QD[at : at + 1], K, probe=probe)
