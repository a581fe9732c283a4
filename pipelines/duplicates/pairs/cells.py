"""Cells of like vectors, so that each is compared with few others: an inverted file (IVF, Sivic and Zisserman 2003).

A vector lies at home in the cell of its nearest centre, and visits a cell beyond a border that is near enough for a
duplicate to lie there. How near is known: of unit vectors x at home in A and y in B, whose cosine is at least t, x lies
at most sqrt(2 - 2t) from the plane halfway between the two centres. Where no cap on visits is met, no pair is missed.
"""

from typing import NamedTuple

import numpy as np

EXACT_ROWS = 20_000
"""Up to so many vectors there is one cell: all are compared with all."""
POINTS_PER_CELL = 32
"""Vectors of the sample for each centre. Centres only need to cut evenly; more points and rounds cost more than they
save."""
ROUNDS = 6
_SLACK = 1e-4
"""What float32 may get wrong in a distance to a border, and more."""
_AT_ONCE = 8192


def cells_for(rows: int) -> int:
    """The number of cells for so many vectors: with twice the root, finding the cell of a vector costs about as much as
    comparing it there."""
    return int(2 * rows**0.5)


def unit_rows(stored: np.ndarray) -> np.ndarray:
    """(N, D) float32 of length 1 from stored vectors, none of which is zero."""
    floats = stored.astype(np.float32)
    # In float64: the square of a float32 may be none of its own.
    lengths = np.sqrt(np.einsum("nd,nd->n", floats, floats, dtype=np.float64))
    floats /= lengths[:, None].astype(np.float32)
    return floats


def train_cells(sample_ND: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """(C, D) float32 centres of spherical k-means (faiss) on unit vectors; C is `cells`, or fewer where the sample is
    small."""
    import faiss

    cells = max(1, min(cells, len(sample_ND)))
    if cells == 1:
        return np.zeros((1, sample_ND.shape[1]), np.float32)
    kmeans = faiss.Kmeans(
        sample_ND.shape[1],
        cells,
        niter=ROUNDS,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_CELL,
    )
    kmeans.train(np.ascontiguousarray(sample_ND, np.float32))
    return np.asarray(kmeans.centroids, np.float32)


class Placed(NamedTuple):
    """Where vectors lie and visit, sorted by cell; within a cell those at home come first, each in the order given."""

    rows: np.ndarray
    """(M,) int64: which of the vectors."""
    cells: np.ndarray
    """(M,) int64."""
    home: np.ndarray
    """(M,) bool."""


def place(units_ND: np.ndarray, centres_CD: np.ndarray, threshold: float, probes: int) -> Placed:
    """Homes and visits of unit vectors. Among the `probes` cells next to its own, a vector visits those with a higher
    number whose border is near: of two cells each pair is found from the lower one, and once."""
    if len(centres_CD) == 1:
        return Placed(np.arange(len(units_ND)), np.zeros(len(units_ND), np.int64), np.ones(len(units_ND), bool))
    import faiss

    index = faiss.IndexFlatIP(centres_CD.shape[1])
    index.add(centres_CD)
    scores, cells = index.search(units_ND, min(probes + 1, len(centres_CD)))
    homes = cells[:, 0]
    rows, at = np.nonzero((cells > homes[:, None]) & (scores[:, :1] - scores <= _reach(threshold, np.full(1, 2.0))))
    margins, visited = scores[rows, 0] - scores[rows, at], cells[rows, at]
    apart = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        between = centres_CD[homes[rows[some]]] - centres_CD[visited[some]]
        apart[some] = np.sqrt(np.einsum("nd,nd->n", between, between))
    near = margins <= _reach(threshold, apart)
    all_rows = np.concatenate([np.arange(len(units_ND)), rows[near]])
    all_cells = np.concatenate([homes, visited[near]])
    home = np.arange(len(all_rows)) < len(units_ND)
    order = np.lexsort((~home, all_cells))
    return Placed(all_rows[order], all_cells[order], home[order])


def _reach(threshold: float, apart: np.ndarray) -> np.ndarray:
    """(N,): how much higher the score of the own centre may be than that of another, `apart` (N,) from it."""
    reach: np.ndarray = max(0.0, 2 - 2 * threshold) ** 0.5 * apart + _SLACK
    return reach
