"""Which filters may be answered by indexes: those on columns whose indexes were asked, as they are now.

`pixlake index` asks the indexes of a column a set of filters before they count, and records which pieces answered. What
another tool has made, merged or moved since is other pieces, of which nobody knows what they answer: filters on that
column are answered by a scan until `pixlake index` has asked again.
"""

import re
from collections.abc import Sequence
from typing import Any

import lance
from pydantic import BaseModel, ConfigDict, ValidationError

FILTER_PREFIX = "pixlake.filter_index."
"""Table metadata key of a record: the column follows. Written before its index is published, so that a process that
dies between the two leaves pieces that are asked again, and none that count without having been asked."""

_WORD = re.compile(r"\w+")
_FULL_TEXT = "INVERTED"
"""Answers no filter but `contains_tokens`."""


class FilterRecord(BaseModel):
    """What the indexes on a column were when they answered every filter as a scan does."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """Of the one that Pixlake built: `BTREE`, `BITMAP`, …"""
    segments: tuple[str, ...]
    """Ids of the pieces of all of them, other tools' too."""
    filters: int
    """How many were asked."""
    rows: int
    """Rows of the table."""
    data: str
    """What the table's rows were: see `data_digest`."""
    lance: str
    """The version that answered: another may answer otherwise."""
    built_at: str


def index_kind(index: Any) -> str:
    """`BTREE`, `BITMAP`, `LABELLIST`, `IVF_RQ`, …, of one of Lance's descriptions."""
    return str(index.index_type).upper()


def filter_indexes(dataset: "lance.LanceDataset", column: str | None = None) -> Sequence[Any]:
    """Lance's descriptions of the indexes that it may answer filters by; those on one column, or all."""
    return [
        index
        for index in dataset.describe_indices()
        if len(index.field_names) == 1
        and (column is None or index.field_names == [column])
        and index_kind(index) != _FULL_TEXT
        and not index_kind(index).startswith(("IVF", "HNSW", "VECTOR"))
    ]


def segment_ids(indexes: Sequence[Any]) -> set[str]:
    return {str(segment.uuid) for index in indexes for segment in index.segments}


def read_filter_record(dataset: "lance.LanceDataset", column: str) -> FilterRecord | None:
    """None where there is none, and where it cannot be read: then the column is asked again."""
    stored = dataset.metadata.get(FILTER_PREFIX + column)
    try:
        return None if stored is None else FilterRecord.model_validate_json(stored)
    except ValidationError:
        return None


def doubts(dataset: "lance.LanceDataset") -> dict[str, str]:
    """Column -> why filters on it are answered by a scan although it has an index. Metadata alone is read."""
    columns = {index.field_names[0]: None for index in filter_indexes(dataset)}
    why = {column: _doubt(dataset, column) for column in columns}
    return {column: reason for column, reason in why.items() if reason is not None}


def answered_by_index(dataset: "lance.LanceDataset", where: str | None) -> bool:
    """Whether a filter may be left to the indexes of the table: for `use_scalar_index` of every scanner.

    Not where it names a column with one in doubt; a name that stands in a text counts too, and costs no more than time.
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
