"""The nearest regions to the nearest images: each once, by its best region."""

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.search.scan import Nearest

_REGIONS_AN_IMAGE = 4
"""Regions asked for first, for each image wanted, and by how much more each time they are too few: a second question
costs about as much as the first."""


def nearest_images(
    nearest: Callable[[int], Nearest], ids: Callable[[np.ndarray], Sequence[str | None]], k: int
) -> Nearest:
    """`k` images, fewer where the table has no more, from a search that gives the n nearest regions when called.

    `ids` gives the images of rows. Of each image the nearest region is given, whatever number of them was asked for.
    """
    wanted, before = k * _REGIONS_AN_IMAGE, -1
    while True:
        regions = nearest(wanted)
        first = first_of_each(ids(regions.row_ids))
        count = len(regions.row_ids)
        # Fewer than asked for are not all there are where rows have nothing in the column that rescores.
        if len(first) >= k or (count < wanted and count == before):
            return Nearest(row_ids=regions.row_ids[first[:k]], scores=regions.scores[first[:k]])
        wanted, before = wanted * _REGIONS_AN_IMAGE, count


def first_of_each(ids: Sequence[str | None]) -> np.ndarray:
    """Where each image comes first, in order."""
    first: dict[str | None, int] = {}
    for at, image in enumerate(ids):
        first.setdefault(image, at)
    return np.array(list(first.values()), np.int64)
