"""Recall: the share of the true nearest rows that a search finds, where copies of an image count as each other."""

from collections.abc import Sequence

import numpy as np

from pipelines.neighbours.nearest import Nearest

SAME = 1e-5
"""Scores that differ by less are equal (above 1, by less than this part of them): sums in another order."""
TIES = 50
"""True rows beyond the k-th that are known, and checked for ties with it."""


def recall(found: Sequence[np.ndarray], truth: Sequence[Nearest], k: int) -> float:
    """Recall@k, as the mean over the queries: the share of the true nearest k, or of all where there are fewer, among
    the k row ids found. Queries without any true neighbour are left out; 0 where no other is left.

    `truth` has the nearest k + `TIES` of each query, or as many as there are: rows as near as the k-th, such as copies
    of an image, are right as well, whichever of them a search finds.
    """
    shares = [
        min(int(np.isin(row_ids, right_rows(true, k)).sum()), wanted) / wanted
        for row_ids, true in zip(found, truth, strict=True)
        if (wanted := min(k, len(true.row_ids)))
    ]
    return float(np.mean(shares)) if shares else 0.0


def right_rows(true: Nearest, k: int) -> np.ndarray:
    """Row ids of the nearest k, and of rows as near as the k-th."""
    known = true.first(k + TIES)
    kth = known.scores[min(k, len(known.scores)) - 1]
    right: np.ndarray = known.row_ids[known.scores >= kth - SAME * max(1, abs(kth))]
    return right
