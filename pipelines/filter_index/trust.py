"""Which filters may be answered by indexes: those on columns whose indexes were asked (tested against a scan) as they
are now.

`pixlake index` asks the indexes of a column a set of filters before they count, and records which pieces answered.
Pieces that another tool has made, merged or moved since were never asked: filters on that column are answered by a scan
until `pixlake index` has asked them.
"""

import re
from collections.abc import Sequence
from typing import Any

import lance
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.index.records import finds_neighbours

FILTER_PREFIX = "pixlake.filter_index."
"""Table metadata key of a record, before the column's name. It is written before its index is published, so that a
process that dies between the two leaves pieces that are asked again, and none that count without having been asked."""

_WORD = re.compile(r"\w+")
_FULL_TEXT = "INVERTED"
"""Lance's type of a full-text index, which answers no filter but `contains_tokens`."""


class FilterRecord(BaseModel):
    """The indexes on a column as they were when they answered every filter as a scan does."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """Kind of the index that Pixlake built: `BTREE`, `BITMAP`, …"""
    segments: tuple[str, ...]
    """Ids of the pieces of all indexes on the column, other tools' too."""
    filters: int
    """Filters that were asked."""
    rows: int
    """Rows of the table."""
    data: str
    """Digest of the table's rows: see `_data_digest` of `build.py`."""
    lance: str
    """Lance's version that answered: another may answer otherwise."""
    built_at: str


def index_kind(index: Any) -> str:
    """The kind in one of Lance's descriptions: `BTREE`, `BITMAP`, `LABELLIST`, `IVF_RQ`, …"""
    return str(index.index_type).upper()


def filter_indexes(dataset: "lance.LanceDataset", column: str | None = None) -> Sequence[Any]:
    """Lance's descriptions of the indexes that it may use for filters: those on one column, or all."""
    return [
        index
        for index in dataset.describe_indices()
        if len(index.field_names) == 1
        and (column is None or index.field_names == [column])
        and index_kind(index) != _FULL_TEXT
        and not finds_neighbours(index)
    ]


def hides_vectors(dataset: "lance.LanceDataset", column: str) -> str | None:
    """The name of a filter index on a vector column: Lance (14.0.2) may take it for the column's vector index, and its
    searches then end with an error, lancedb's too, unless they are told to compare every row."""
    return next((str(index.name) for index in filter_indexes(dataset, column)), None)


def segment_ids(indexes: Sequence[Any]) -> set[str]:
    return {str(segment.uuid) for index in indexes for segment in index.segments}


def read_filter_record(dataset: "lance.LanceDataset", column: str) -> FilterRecord | None:
    """The record; None where there is none, or where it cannot be read: then the column is asked again."""
    stored = dataset.metadata.get(FILTER_PREFIX + column)
    try:
        return None if stored is None else FilterRecord.model_validate_json(stored)
    except ValidationError:
        return None


def doubts(dataset: "lance.LanceDataset") -> dict[str, str]:
    """Column -> why filters on it are answered by a scan although it has an index. Reads metadata alone."""
    columns = {index.field_names[0]: None for index in filter_indexes(dataset)}
    why = {column: _doubt(dataset, column) for column in columns}
    return {column: reason for column, reason in why.items() if reason is not None}


def answered_by_index(dataset: "lance.LanceDataset", where: str | None) -> bool:
    """Whether the table's indexes may answer a filter: for `use_scalar_index` of every scanner.

    False where it names a column with a doubted index. A name inside a text literal counts too, and costs only time.
    """
    if where is None:
        return True
    words = where.lower()
    if "contains_tokens" in words:
        return False
    return not any(_named(column.lower(), words) for column in doubts(dataset))


def _named(column: str, words: str) -> bool:
    return column in (_WORD.findall(words) if _WORD.fullmatch(column) else words)


def _doubt(dataset: "lance.LanceDataset", column: str) -> str | None:
    record, there = read_filter_record(dataset, column), filter_indexes(dataset, column)
    if record is None:
        return "made by another tool or by an earlier release, and not asked yet what it answers"
    if not segment_ids(there) <= set(record.segments):
        return "made anew or changed by another tool since it was asked what it answers"
    if record.lance != lance.__version__:
        return f"asked what it answers with Lance {record.lance}, and this is {lance.__version__}"
    return None
