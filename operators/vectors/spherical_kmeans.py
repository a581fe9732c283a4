"""Spherical k-means: clusters of directions, by faiss.

Dhillon, Modha 2001, "Concept Decompositions for Large Sparse Text Data Using Clustering": k-means on unit vectors whose
centres are brought to unit length after each step, so that it maximises the sum of cosines.
"""

from dataclasses import dataclass

import numpy as np

from operators.base.errors import UserError

ITERATIONS = 20
_NEAR_TIE = 1e-5
"""Cosines nearer to each other than this are compared in float64: in float32 their order depends on how many vectors
are compared at once, and a row is to get the same cluster in an embed run and in a block of any size."""
_SAME = 1e-12
"""Cosines nearer to each other than this are of equal centres."""
_LEAST_SQUARE = 1e-20
"""Of a length in float32: squares of components a hundred millionth of it are still numbers."""


@dataclass(frozen=True, kw_only=True)
class FittedClusters:
    """Centres, and how well they fit the vectors that they were fitted on."""

    centres: np.ndarray
    """(K, D) float32 of unit length."""
    mean_cosine: float
    """Of the vectors to their nearest centre: the objective, a vector."""


def fit_clusters(units_ND: np.ndarray, k: int, *, seed: int, iterations: int = ITERATIONS) -> FittedClusters:
    """Centres of (N, D) float32 unit vectors, from `k` of them drawn by `seed`; a cluster that runs empty takes part of
    a large one, as faiss does it. Raises `UserError` for fewer vectors than clusters."""
    import faiss

    if k > len(units_ND):
        raise UserError(f"{k:,} clusters of {len(units_ND):,} vectors: there must be a vector for each at least")
    kmeans = faiss.Kmeans(
        units_ND.shape[1],
        k,
        niter=iterations,
        seed=seed,
        spherical=True,
        # All vectors that are given count, and a warning on stderr about few of them is none of a user's business.
        min_points_per_centroid=1,
        max_points_per_centroid=len(units_ND),
    )
    kmeans.train(np.ascontiguousarray(units_ND, np.float32))
    centres = np.asarray(kmeans.centroids, np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return FittedClusters(centres=centres, mean_cosine=float(nearest_centre(units_ND, centres)[1].mean()))


def nearest_centre(vectors_ND: np.ndarray, centres_KD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index of the centre with the largest cosine (N,) int32, that cosine (N,) float32), the first of equal ones.

    `vectors_ND` are float32 of any length, `centres_KD` of unit length. A vector of zeros has no direction: its cosine
    is NaN.
    """
    import faiss

    vectors_ND, norms = _within_range(np.ascontiguousarray(vectors_ND, np.float32))
    products, found = faiss.knn(vectors_ND, centres_KD, min(2, len(centres_KD)), metric=faiss.METRIC_INNER_PRODUCT)
    nearest = found[:, 0].astype(np.int32)
    if len(centres_KD) > 1:
        near = np.flatnonzero(products[:, 0] - products[:, 1] <= _NEAR_TIE * norms)
        nearest[near] = _nearest_exactly(vectors_ND[near], norms[near], centres_KD)
    dots = np.einsum("nd,nd->n", vectors_ND, centres_KD[nearest])
    with np.errstate(divide="ignore", invalid="ignore"):
        return nearest, np.minimum(dots / norms, np.float32(1))


def _within_range(vectors_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the vectors, their lengths (N,)), both float32, the squares of which are numbers of float32: the very short and
    the very long ones scaled by a power of two, which changes no cosine."""
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("nd,nd->n", vectors_ND, vectors_ND)
    far = np.flatnonzero(~((squares > _LEAST_SQUARE) & (squares < 1 / _LEAST_SQUARE)))
    if len(far):
        some = vectors_ND[far]
        _, exponents = np.frexp(np.abs(some).max(1, keepdims=True))
        vectors_ND, some = vectors_ND.copy(), np.ldexp(some, -exponents)
        vectors_ND[far], squares[far] = some, np.einsum("nd,nd->n", some, some)
    return vectors_ND, np.sqrt(squares)


def _nearest_exactly(vectors_ND: np.ndarray, norms: np.ndarray, centres_KD: np.ndarray) -> np.ndarray:
    """(N,): the first of the centres whose product is the largest in float64, a block at a time."""
    found, centres = [np.zeros(0, np.int64)], centres_KD.T.astype(np.float64)
    for start in range(0, len(vectors_ND), 1024):
        block = slice(start, start + 1024)
        products = vectors_ND[block].astype(np.float64) @ centres
        found.append((products >= products.max(1, keepdims=True) - _SAME * norms[block, None]).argmax(1))
    return np.concatenate(found)
