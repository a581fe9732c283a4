"""From the nearest regions to the nearest images: each image once, by its best region."""

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.neighbours.nearest import Nearest

_REGIONS_AN_IMAGE = 4
"""Regions to search for at first, for each image wanted, and the factor each time they give too few images: another
search costs about as much as the first."""


def nearest_images(
    nearest: Callable[[int], Nearest], ids: Callable[[np.ndarray], Sequence[str | None]], k: int
) -> Nearest:
    """The `k` nearest images, or all there are if fewer. `nearest(n)` searches for the n nearest regions, `ids` gives
    the image of each row.

    Each image stands in the result as its nearest region, however many regions were searched for.
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
    """Index of the first occurrence of each image, in order."""
    first: dict[str | None, int] = {}
    for at, image in enumerate(ids):
        first.setdefault(image, at)
    return np.array(list(first.values()), np.int64)
