"""Neighbours across two sets of vectors: near-duplicates, the image farthest from all that was there, and what two
spaces agree on about the same images."""

from dataclasses import dataclass

import numpy as np

OVERLAP_K = 10


def unit_vectors(vectors_ND: np.ndarray) -> np.ndarray:
    """(N, D) float32 of length 1; zeros stay."""
    floats = np.ascontiguousarray(vectors_ND, np.float32)
    lengths = np.linalg.norm(floats, axis=1, keepdims=True)
    units: np.ndarray = np.divide(floats, lengths, out=np.zeros_like(floats), where=lengths > 0)
    return units


def nearest_cosines(queries_QD: np.ndarray, units_ND: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(cosines (Q, k) float32, highest first; which of the vectors they are (Q, k) int64) of `unit_vectors`. Where
    there are fewer than k, -1."""
    import faiss

    index = faiss.IndexFlatIP(units_ND.shape[1])
    index.add(units_ND)
    cosines, nearest = index.search(queries_QD, k)
    return np.where(nearest < 0, -1, cosines), nearest


def nearest_other(units_ND: np.ndarray, asked_Q: np.ndarray) -> np.ndarray:
    """(Q,): the cosine of each vector `asked_Q`, by its index, to the nearest other one."""
    cosines, nearest = nearest_cosines(units_ND[asked_Q], units_ND, 2)
    # Among copies its own row need not come first.
    own_first = nearest[:, 0] == asked_Q
    others: np.ndarray = np.where(own_first, cosines[:, 1], cosines[:, 0])
    return others


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What two spaces agree on about the same N images; all of it is the same after a rotation of either space."""

    images: int
    k: int
    overlap: float
    """Mean share of the k nearest images in one space that are among the k nearest in the other."""
    by_chance: float
    """What the overlap of unrelated spaces is: k / (N - 1)."""
    cka: float
    """Similarity of all pairwise products (linear centred kernel alignment, Kornblith et al., 2019, with the unbiased
    estimate of Song et al., 2012): 1 for the same structure, about 0 for unrelated ones."""


def agreement(one_ND: np.ndarray, other_NE: np.ndarray, k: int = OVERLAP_K) -> Agreement | None:
    """Compare the vectors of the same images in two spaces; None of fewer than four images. Takes N^2 numbers."""
    images = len(one_ND)
    if images < 4:
        return None
    k = min(k, images - 1)
    units = [unit_vectors(each) for each in (one_ND, other_NE)]
    near = [_neighbours(each, k) for each in units]
    shared = [len(np.intersect1d(a, b)) for a, b in zip(*near, strict=True)]
    return Agreement(
        images=images,
        k=k,
        overlap=float(np.mean(shared)) / k,
        by_chance=k / (images - 1),
        cka=_cka(*units),
    )


def _neighbours(units_ND: np.ndarray, k: int) -> np.ndarray:
    """(N, k): the nearest others of each vector; of equally near ones those that come first."""
    products = np.round(units_ND @ units_ND.T, 6)
    np.fill_diagonal(products, -np.inf)
    nearest: np.ndarray = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return nearest


def _cka(one_ND: np.ndarray, other_NE: np.ndarray) -> float:
    kernels = [each.astype(np.float64) @ each.T.astype(np.float64) for each in (one_ND, other_NE)]
    for kernel in kernels:
        np.fill_diagonal(kernel, 0)
    own = [_independence(each, each) for each in kernels]
    if min(own) <= 0:
        return 0.0
    return float(_independence(*kernels) / (own[0] * own[1]) ** 0.5)


def _independence(one_NN: np.ndarray, other_NN: np.ndarray) -> float:
    """The unbiased estimate of the Hilbert-Schmidt independence criterion from kernels with an empty diagonal (Song et
    al., "Feature Selection via Dependence Maximization", 2012, theorem 5); at least four rows."""
    rows = len(one_NN)
    ends = one_NN.sum() * other_NN.sum() / ((rows - 1) * (rows - 2))
    crossed = 2 / (rows - 2) * (one_NN.sum(axis=0) @ other_NN.sum(axis=0))
    return float((np.vdot(one_NN, other_NN) + ends - crossed) / (rows * (rows - 3)))
