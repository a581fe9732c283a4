"""Rows of a table as queries to it, for measuring what a search finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID
from pipelines.search.column import SearchColumn
from pipelines.space.flat import flat_numpy
from pipelines.space.usable_rows import usable_rows
from pipelines.table.layout import layout_of


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Rows that have a vector in every column that is measured, in the table's order."""

    rows: pa.Table
    """The label, where there is one."""
    vectors: list[np.ndarray]
    """(M, dim) float32 of each, as the base column stores it: one, or several where rows hold lists."""
    left_out: list[np.ndarray]
    """uint64: rows that are not to be found, which are the query itself and the other regions of its image."""

    def __len__(self) -> int:
        return len(self.vectors)

    def brought_to(self, column: SearchColumn) -> list[np.ndarray]:
        """The queries as they are compared with what the column stores."""
        flat = column.queries(np.concatenate(self.vectors))
        return np.split(flat, np.cumsum([len(each) for each in self.vectors])[:-1])


def draw_rows(dataset: Any, columns: Sequence[str], count: int, seed: int) -> pa.Table:
    """Up to `count` rows at random, without replacement, in order, with their `_rowid` and `id`."""
    total = dataset.count_rows()
    drawn = np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))
    # Flattened, a field of a struct has the name that a scan gives it: region.label.
    return dataset.take(drawn.tolist(), columns=list(dict.fromkeys([*columns, ID.name, "_rowid"]))).flatten()


def has_vectors(column: pa.ChunkedArray) -> pa.Array:
    """Which rows hold a vector with a direction: neither null nor an empty list, nor zeros, nor a NaN or infinity."""
    return pa.array(usable_rows(column, "cosine"))


def as_queries(dataset: Any, rows: pa.Table, base: str) -> Queries:
    """Of rows of `draw_rows`, each of which has a vector in `base`."""
    column = rows[base].combine_chunks()
    counts = column.value_lengths().to_numpy() if pa.types.is_list(column.type) else np.ones(len(rows), np.int64)
    flat = flat_numpy(column).astype(np.float32)
    return Queries(
        rows=rows, vectors=np.split(flat, np.cumsum(counts)[:-1]) if len(rows) else [], left_out=_own(dataset, rows)
    )


def _own(dataset: Any, rows: pa.Table) -> list[np.ndarray]:
    """The row ids of each row's image: of a table with a row a region, those of all its regions."""
    if layout_of(dataset.schema) != "rows":
        return [np.array([row], np.uint64) for row in rows["_rowid"].to_pylist()]
    of_image: dict[str, list[int]] = {}
    scanner = dataset.scanner(columns=[ID.name], with_row_id=True)
    for batch in scanner.to_batches():
        own = batch.filter(pc.is_in(batch[ID.name], value_set=rows[ID.name].combine_chunks()))
        for image, row in zip(own[ID.name].to_pylist(), own["_rowid"].to_pylist(), strict=True):
            of_image.setdefault(image, []).append(row)
    return [np.array(of_image[image], np.uint64) for image in rows[ID.name].to_pylist()]
