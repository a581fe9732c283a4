"""The ways in which a table can be searched: each representation, each index, and candidates that are re-ranked
(rescored)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.vectors.apply import vector_type
from operators.vectors.binary_codes import BinaryCodec
from operators.vectors.product_codes import ProductCodec
from pipelines.index.deleted_entries import may_give_deleted
from pipelines.index.records import covered_fragments, read_index_record, unindexed_rows, vector_indexes
from pipelines.search.column import SearchColumn
from pipelines.search.nearest import Probe

COARSE = (BinaryCodec, ProductCodec)
"""Codecs so coarse that they serve only to find candidates."""
EXACT = Probe(exact=True)


@dataclass(frozen=True, kw_only=True)
class IndexUse:
    """An index on a column, as a search uses it."""

    name: str
    type: str
    probe: Probe
    size_bytes: int
    fragments: frozenset[int]
    """Ids of the fragments whose rows it holds."""
    unindexed_rows: int
    seconds: float | None
    """Seconds that building it took; None for an index that `pixlake index` did not build."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of searching."""

    column: SearchColumn
    index: IndexUse | None
    """The index that is used; None compares with every row."""
    rescored: bool
    """Whether candidates are re-ranked by the base column."""

    @property
    def name(self) -> str:
        index = f" {self.index.type}" if self.index else ""
        return f"{self.column.name}{index}{', rescored' if self.rescored else ''}"

    @property
    def probe(self) -> Probe:
        return self.index.probe if self.index else EXACT


def ways_of(dataset: Any, column: SearchColumn) -> Iterator[Way]:
    """Every way to search in one column."""
    for index in (None, *_indexes(dataset, column)):
        yield Way(column=column, index=index, rescored=False)
        if isinstance(column.codec, COARSE):
            yield Way(column=column, index=index, rescored=True)


def _indexes(dataset: Any, column: SearchColumn) -> Iterator[IndexUse]:
    """The column's index, as one entry or none. Raises `TableError` for a record that this Pixlake cannot read."""
    if not column.searched_by_lance:
        return
    record = read_index_record(dataset, column.name)
    for index in vector_indexes(dataset, column.name):
        ours = record if record is not None and record.name == index.name else None
        yield IndexUse(
            name=index.name,
            type=index.index_type,
            probe=Probe(
                nprobes=ours.nprobes if ours else None,
                refine=ours.refine if ours else None,
                mask_deleted=may_give_deleted(dataset, column.name),
            ),
            size_bytes=index.total_size_bytes,
            fragments=frozenset(covered_fragments([index])),
            unindexed_rows=unindexed_rows(dataset, column.name),
            seconds=ours.seconds if ours else None,
        )


def vector_bytes(field: pa.Field) -> float:
    """Bytes of one vector of a column."""
    kind = vector_type(field.type)
    size: float = kind.list_size * kind.value_type.bit_width / 8
    return size
