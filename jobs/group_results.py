"""The nearest regions to the nearest images: each once, by its best region."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_REGIONS_AN_IMAGE = 4
"""Rows asked for first, for each image wanted, and by how much more each time they are too few: a second question
costs about as much as the first."""


def nearest_images(nearest: Callable[[int], Sequence[Row]], k: int) -> list[Row]:
    """`k` images, fewer where the table has no more, from a search that gives the `n` nearest regions when called.

    An image takes the place of its nearest region; which of its rows that is does not depend on how many were asked.
    """
    wanted = k * _REGIONS_AN_IMAGE
    while True:
        regions = nearest(wanted)
        images = best_of_each(regions)
        if len(images) >= k or len(regions) < wanted:
            return images[:k]
        wanted *= _REGIONS_AN_IMAGE


def best_of_each(regions: Sequence[Row]) -> list[Row]:
    """The first region of each image, by `id`, in the order given."""
    first: dict[Any, Row] = {}
    for region in regions:
        first.setdefault(region["id"], region)
    return list(first.values())
