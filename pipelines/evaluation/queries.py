"""Rows of a table as queries, with all that measuring needs: a vector in every column, and the rest of their image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import DELETED_AT, ID
from pipelines.neighbours.queries import Queries, queries_of
from pipelines.scan.live import live_rows
from pipelines.space.samples import draw_rows
from pipelines.space.usable_rows import usable_rows
from pipelines.table.layout import layout_of


def draw_with_image(dataset: Any, columns: Sequence[str], count: int, seed: int) -> pa.Table:
    """Up to `count` rows at random with their `_rowid` and `id`, without those among them that are marked as deleted. A
    field of a struct is named as in a scan: region.label."""
    marks = [DELETED_AT.name] if live_rows(dataset.schema) is not None else []
    wanted = dict.fromkeys([*columns, ID.name, "_rowid", *marks])
    rows = pa.concat_tables(draw_rows(dataset, [*wanted], count, seed)).flatten()
    return rows.filter(rows[DELETED_AT.name].is_null()).drop_columns(marks) if marks else rows


def has_vectors(column: pa.ChunkedArray) -> pa.Array:
    """Which rows hold a vector with a direction: neither null nor an empty list, nor zeros, nor a NaN or infinity."""
    return pa.array(usable_rows(column, "cosine"))


def as_queries(dataset: Any, rows: pa.Table, base: str) -> Queries:
    """Queries from rows of `draw_with_image`, each with a vector in `base`; no other region of a query's image may be
    found, either."""
    return queries_of(rows, base, _of_images(dataset, rows) if layout_of(dataset.schema) == "rows" else None)


def _of_images(dataset: Any, rows: pa.Table) -> list[np.ndarray]:
    """The row ids of each row's image, in a table with a row per region."""
    of_image: dict[str, list[int]] = {}
    scanner = dataset.scanner(columns=[ID.name], with_row_id=True)
    for batch in scanner.to_batches():
        own = batch.filter(pc.is_in(batch[ID.name], value_set=rows[ID.name].combine_chunks()))
        for image, row in zip(own[ID.name].to_pylist(), own["_rowid"].to_pylist(), strict=True):
            of_image.setdefault(image, []).append(row)
    return [np.array(of_image[image], np.uint64) for image in rows[ID.name].to_pylist()]
