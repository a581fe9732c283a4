"""Recall: the share of the true nearest rows that a search finds, copies of an image counting as each other."""

from collections.abc import Sequence

import numpy as np

from pipelines.neighbours.nearest import Nearest

SAME = 1e-5
"""Scores that differ by less are equal, of those larger than 1 by less than this part: sums in another order."""
TIES = 50
"""True rows beyond the k-th that are known, and looked at for ties with it."""


def recall(found: Sequence[np.ndarray], truth: Sequence[Nearest], k: int) -> float:
    """Mean over the queries of the share of the true nearest k among the k row ids found; of fewer where there are no
    k. Queries without any true neighbour say nothing; 0 where there is no other.

    `truth` has the nearest k + `TIES` of each query, as far as there are so many: rows as near as the k-th, copies of
    an image, are right as well, whichever of them a search finds.
    """
    shares = [
        min(int(np.isin(row_ids, right_rows(true, k)).sum()), wanted) / wanted
        for row_ids, true in zip(found, truth, strict=True)
        if (wanted := min(k, len(true.row_ids)))
    ]
    return float(np.mean(shares)) if shares else 0.0


def right_rows(true: Nearest, k: int) -> np.ndarray:
    """Row ids of the nearest k, and of those as near as the k-th."""
    known = true.first(k + TIES)
    kth = known.scores[min(k, len(known.scores)) - 1]
    right: np.ndarray = known.row_ids[known.scores >= kth - SAME * max(1, abs(kth))]
    return right
