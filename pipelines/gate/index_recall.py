"""What the index on a column finds now: measured again, since rows may have come and gone after it was built."""

from dataclasses import dataclass
from typing import Any

from pipelines.index.exact import draw_queries, exact_neighbors
from pipelines.index.plan import few
from pipelines.index.recall import DEPTH, IndexTrial, Settings
from pipelines.index.records import IndexRecord, fragment_rows, read_index_record, unindexed_rows, vector_indexes
from pipelines.table.table import Table


@dataclass(frozen=True, kw_only=True)
class IndexNow:
    """An index that Pixlake built, and what it finds."""

    record: IndexRecord
    recall: float
    """The index recall@10, searched as the record says."""
    queries: int
    unindexed_rows: int


def index_now(table: Table, dataset: Any, column: str, *, count: int, seed: int) -> IndexNow | None:
    """The index on the column, measured by up to `count` rows; None where Pixlake has built none, or where no row has
    a vector."""
    record = read_index_record(dataset, column)
    queries = draw_queries(dataset, column, count, seed) if record is not None else None
    if record is None or queries is None or not len(queries):
        return None
    fragments = list(fragment_rows(dataset))
    exact = exact_neighbors(table, dataset.version, column, queries, record.metric, DEPTH, fragments)
    trial = IndexTrial(dataset, column, record.metric, queries, exact.nearest)
    return IndexNow(
        record=record,
        recall=trial.recall(Settings(record.nprobes, record.refine)),
        queries=len(queries),
        unindexed_rows=unindexed_rows(dataset, column),
    )


def needs_index(dataset: Any, column: str, vectors: int) -> bool:
    """Whether so many vectors are too many to be compared with one by one."""
    return not few(vectors, dataset.schema.field(column).type)


def has_index(dataset: Any, column: str) -> bool:
    """Whether there is an index on the column, whoever built it."""
    return bool(vector_indexes(dataset, column))
