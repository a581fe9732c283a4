"""From images with lists of regions to a row per region, and the SQL that picks one row per image."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, REGION, REGION_ID, REGIONS
from pipelines.table.positions import describe_keys, table_keys

Layout = Literal["rows", "multivector"]
"""A row per region, or a row per image with the list of its vectors."""

FIRST_REGION = f"`{REGION.name}`.`index` = 0"
"""SQL for one row of each image in layout `rows`: its regions are committed together and counted from 0. Lance reads
only the index from the struct: 20 ms for 3.2 million rows on local disk, as for the positions without it."""

_ROWS_AT_ONCE = 65536
"""Rows that are exploded at once: repeated for every region of a large batch, a text column outgrows one array."""


def layout_of(schema: pa.Schema) -> Layout | None:
    """How a vector table keeps regions; None where an image has one vector a column."""
    for field, layout in _LAYOUTS:
        index = schema.get_field_index(field.name)
        if index >= 0 and schema.field(index).type == field.type:
            return layout
    return None


_LAYOUTS: tuple[tuple[pa.Field, Layout], ...] = ((REGION, "rows"), (REGIONS, "multivector"))


def check_regions(rows: pa.Table, vectors: Sequence[str]) -> None:
    """Raises `ValueError` unless every image has regions 0, 1, … and as many vectors in each of the columns, none null.

    An image with other numbers would be taken for one that lost regions to another tool.
    """
    counts = _counts(rows, REGIONS.name)
    _refuse(rows, counts == 0, "no region and no error class")
    for name in vectors:
        _refuse(rows, _counts(rows, name) != counts, f"not one vector a region in {name}")
        if (flat := _flat(rows, name)).null_count:
            _refuse(rows, _any_of(counts, pc.is_null(flat)), f"no vector for a region in {name}")
    numbered = pc.fill_null(pc.struct_field(_flat(rows, REGIONS.name), "index"), -1).to_numpy(zero_copy_only=False)
    _refuse(rows, _any_of(counts, pa.array(numbered != _within(counts))), "regions that are not numbered 0, 1, …")


def explode_regions(rows: pa.Table, vectors: Sequence[str]) -> pa.Table:
    """One row per region: `regions` gives `region` and `region_id`, the vector columns give one vector each, and the
    other columns are repeated. The rows must have passed `check_regions`."""
    if not rows.num_rows:
        return _exploded(rows, vectors)
    ends = np.cumsum(_counts(rows, REGIONS.name))
    return pa.concat_tables(_exploded(rows.slice(start, count), vectors) for start, count in _pieces(ends))


def _pieces(ends: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first image, number of images) of pieces with about `_ROWS_AT_ONCE` regions; `ends` is the running sum of the
    images' regions."""
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + _ROWS_AT_ONCE, "right")), start + 1)
        yield start, stop - start
        start = stop


def _exploded(rows: pa.Table, vectors: Sequence[str]) -> pa.Table:
    counts = _counts(rows, REGIONS.name)
    lists = {REGIONS.name, *vectors}
    repeated = rows.drop_columns(sorted(lists)).take(pa.array(np.repeat(np.arange(len(counts)), counts)))
    numbers = pc.cast(pa.array(_within(counts)), pa.string())
    table = repeated.append_column(REGION, _flat(rows, REGIONS.name))
    table = table.append_column(REGION_ID, pc.binary_join_element_wise(table[ID.name], numbers, "#"))
    for name in vectors:
        flat = _flat(rows, name)
        table = table.append_column(pa.field(name, flat.type), flat)
    return table


def _flat(rows: pa.Table, name: str) -> pa.Array:
    return pc.list_flatten(rows[name].combine_chunks())


def _counts(rows: pa.Table, name: str) -> np.ndarray:
    """(N,) int64: lengths of the lists, 0 for null."""
    counts: np.ndarray = pc.fill_null(pc.list_value_length(rows[name]), 0).to_numpy().astype(np.int64)
    return counts


def _within(counts: np.ndarray) -> np.ndarray:
    """(sum of counts,) int64: 0, 1, … for each of the counts, one after the other."""
    within: np.ndarray = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return within


def _any_of(counts: np.ndarray, wrong: pa.Array) -> np.ndarray:
    """(N,) bool: images with a wrong region; `wrong` has one boolean per region."""
    images = np.repeat(np.arange(len(counts)), counts)[wrong.to_numpy(zero_copy_only=False)]
    return np.isin(np.arange(len(counts)), images)


def _refuse(rows: pa.Table, wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        raise ValueError(f"{what} at (shard, row) {describe_keys(table_keys(rows.filter(pa.array(wrong))))}")
