"""Which part of a query image is embedded, and how: as the table's regions were made."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import FiniteFloat, TypeAdapter

from operators.base.columns import REGIONS
from operators.pixels.preprocess import Resize
from operators.regions.options import BoxesOptions, PatchesOptions, RegionOptions
from pipelines.search.column import SearchColumn
from pipelines.space.flat import flat_numpy
from pipelines.space.record import Record

QUERY_BOX = "query_box"
"""Stands for the manifest's column of boxes, in the one row that makes up a query."""

Box = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
"""x0, y0, x1, y1 in pixels of the upright image, or in fractions of its sides if none is over 1."""


def regions_of(record: Record) -> RegionOptions | None:
    """The options that the table's regions were made with; None for a table without regions."""
    decided = (each["regions"] for each in record.values() if isinstance(each, dict) and "regions" in each)
    found = next(decided, None)
    return None if found is None else TypeAdapter(RegionOptions).validate_python(found)


def query_regions(
    options: RegionOptions | None, box: Box | None, resize: Resize = "squash"
) -> tuple[RegionOptions | None, dict[str, Any]]:
    """(the region options for the query image, the values of the columns that they read in its row).

    A box is cut out or pooled as a region of the table would be. Without a box, in a table with a row per region the
    image is one region, the whole of it; in layout `multivector` it gets all regions that the table gives an image.
    Where only a manifest could give those boxes, it is again the whole image. In a table without regions (`options`
    None) a box is cut out and embedded as an image of its own, brought to the model's size by `resize`.
    """
    if options is None:
        return (None, {}) if box is None else _cut_box(box, resize)
    if box is None and options.layout == "multivector":
        own = options.model_copy(update={"without_regions": "whole"})
        return own, dict.fromkeys(own.manifest_columns)
    layout, fractions = options.layout, box is not None and max(box) <= 1
    boxes = [] if box is None else [list(box)]
    if isinstance(options, PatchesOptions):
        of_patches = PatchesOptions(kind="patches", column=QUERY_BOX, normalized=fractions, layout=layout)
        return of_patches, {QUERY_BOX: boxes}
    cut = BoxesOptions(kind="boxes", column=QUERY_BOX, normalized=fractions, layout=layout, resize=options.resize)
    return cut, {QUERY_BOX: boxes}


def _cut_box(box: Box, resize: Resize) -> tuple[RegionOptions, dict[str, Any]]:
    cut = BoxesOptions(kind="boxes", column=QUERY_BOX, normalized=max(box) <= 1, resize=resize)
    return cut, {QUERY_BOX: [list(box)]}


def split_box(box: object) -> object:
    """`x0,y0,x1,y1` as four numbers; anything else as it is. Raises `ValueError`."""
    if not isinstance(box, str):
        return box
    try:
        x0, y0, x1, y1 = map(float, box.split(","))
    except ValueError:
        raise ValueError(f"{box!r} is not four numbers x0,y0,x1,y1") from None
    return x0, y0, x1, y1


def box_text(box: Iterable[float]) -> str:
    """The box as text that `split_box` reads."""
    return ",".join(f"{edge:g}" for edge in box)


def best_region_numbers(column: SearchColumn, query_MD: np.ndarray, vectors: pa.ChunkedArray) -> np.ndarray:
    """(N,) int64: in each row's list of vectors the one nearest to any of the query's, (M, dim) float32."""
    lists = vectors.combine_chunks()
    scores = column.scores(query_MD, flat_numpy(lists)).max(0)
    ends = np.cumsum(lists.value_lengths().to_numpy())
    return np.array([int(each.argmax()) for each in np.split(scores, ends[:-1])], np.int64)


def best_regions(column: SearchColumn, query_MD: np.ndarray, rows: pa.Table) -> list[dict[str, Any]]:
    """For each row the region nearest to any of the query's vectors, (M, dim) float32. A row has a list of vectors in
    the column, and one of `regions`."""
    best = best_region_numbers(column, query_MD, rows[column.name])
    regions = rows[REGIONS.name].to_pylist()
    found: list[dict[str, Any]] = [of_row[at] for of_row, at in zip(regions, best, strict=True)]
    return found
