"""The nearest rows, or images, of many queries at once: the column is read through, whatever index there is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.neighbours.nearest import Nearest
from pipelines.search.column import SearchColumn
from pipelines.search.group import first_of_each
from pipelines.search.rows import image_ids
from pipelines.search.scan import scan

_DEEPER = 4
"""How many times as many regions are asked for, where they were of too few images."""


def nearest_images_of_many(
    dataset: Any, column: SearchColumn, queries: Sequence[np.ndarray], k: int, where: str | None
) -> list[Nearest]:
    """The k nearest images to each query, (M, dim) float32, each by its best region. The column is read through once,
    or again where images have many regions near a query."""
    depth = k
    while True:
        best = scan(dataset, column, queries, depth, where=where)
        found = []
        for each in best:
            first = first_of_each(image_ids(dataset, each.row_ids))[:k]
            found.append(Nearest(row_ids=each.row_ids[first], scores=each.scores[first]))
        short = [len(some.row_ids) < k and len(each.row_ids) == depth for some, each in zip(found, best, strict=True)]
        if not any(short):
            return found
        depth *= _DEEPER
