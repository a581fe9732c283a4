"""Which images a column finds for queries that come from outside of the table, by comparing with every live row."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.neighbours.recall import TIES, right_rows
from pipelines.search.column import SearchColumn
from pipelines.search.many import nearest_images_of_many
from pipelines.search.rows import image_ids
from pipelines.search.scan import scan


def found_images(
    dataset: Any, column: SearchColumn, queries: Sequence[np.ndarray], k: int, where: str
) -> list[list[str | None]]:
    """The ids of the k nearest images to each query, (M, dim) float32, nearest first."""
    best = nearest_images_of_many(dataset, column, queries, k, where)
    return [list(image_ids(dataset, each.row_ids)) for each in best]


def finds_own(
    dataset: Any, column: SearchColumn, queries: Sequence[np.ndarray], own: Sequence[str], where: str
) -> np.ndarray:
    """(Q,) float64, 1 or 0: whether the nearest image to each query is the image with its id, or one as near."""
    best = scan(dataset, column, queries, 1 + TIES, where=where)
    right = [
        bool(len(each.row_ids)) and image in image_ids(dataset, right_rows(each, 1))
        for each, image in zip(best, own, strict=True)
    ]
    return np.array(right, float)
