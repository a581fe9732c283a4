"""The rows nearest to a query, and the best of several such results."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The k best rows for one query, best first."""

    row_ids: np.ndarray
    """(k,) uint64: Lance's `_rowid`."""
    scores: np.ndarray
    """(k,) float32, the nearer the larger. A search computes them from what is stored, whatever an index has
    estimated: for cosine 1 for the same direction, for dot the inner product, for l2 minus the distance."""

    def first(self, k: int) -> "Nearest":
        """The k best of these rows."""
        return Nearest(row_ids=self.row_ids[:k], scores=self.scores[:k])

    def without(self, row_ids: np.ndarray) -> "Nearest":
        """All rows but those with the given ids, (N,) uint64."""
        others = ~np.isin(self.row_ids, row_ids)
        return Nearest(row_ids=self.row_ids[others], scores=self.scores[others])


NOBODY = Nearest(row_ids=np.zeros(0, np.uint64), scores=np.zeros(0, np.float32))


def best_of(scores: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k highest, highest first; among equal ones the first come first, and NaN comes last."""
    far, among = -scores, np.arange(len(scores))
    if len(scores) > 4 * k:
        # What is no number is sorted behind everything, and compares with nothing.
        among = np.flatnonzero(~(far > np.partition(far, k - 1)[k - 1]))
    order: np.ndarray = among[np.argsort(far[among], kind="stable")[:k]]
    return order


def nearest_of(parts: Sequence[Sequence[Nearest]], k: int) -> list[Nearest]:
    """The k best for each query over all parts, which hold different rows.

    Among rows with the same score, smaller row ids come first, in whatever order the parts come.
    """
    found = []
    for of_query in zip(*parts, strict=True):
        row_ids = np.concatenate([part.row_ids for part in of_query])
        scores = np.concatenate([part.scores for part in of_query])
        order = np.lexsort((row_ids, -scores))[:k]
        found.append(Nearest(row_ids=row_ids[order], scores=scores[order]))
    return found
