"""What a training has changed of images that it was not about: the same images' vectors before and after, compared."""

from dataclasses import dataclass

import numpy as np

from pipelines.judging.intervals import MeanInterval, mean_interval
from pipelines.judging.labelled import cosines_of, parts, without_own
from pipelines.judging.representations import recall_shares

FEWEST = 3


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """How far two models see the same images alike. Lengths of vectors may differ, and axes mean nothing."""

    images: int
    neighbours: MeanInterval | None
    """Share of an image's ten nearest others before that are among its ten nearest after."""
    neighbours_by_chance: float
    """That share for vectors that have nothing to do with each other."""
    cka: float
    """Linear CKA: 1 where the vectors are the same up to a rotation and a factor."""
    cka_by_chance: float
    """The same with the images after in another order: of few images of long vectors it is high for anything."""
    aligned_cosine: float | None
    """Mean cosine after the best orthogonal map, which is found on half of the images and measured on the other; None
    of fewer images than such a map has directions to find."""

    def as_metrics(self) -> dict[str, float]:
        """The figures by name, as a saved model's card has them; those that there are."""
        found = {
            "kept_neighbours": None if self.neighbours is None else self.neighbours.mean,
            "kept_cka": self.cka,
            "kept_aligned_cosine": self.aligned_cosine,
            "kept_images": float(self.images),
        }
        return {name: value for name, value in found.items() if value is not None and np.isfinite(value)}


def measure_forgetting(before_ND: np.ndarray, after_NE: np.ndarray, *, seed: int = 0) -> Forgetting:
    """Compare (N, D) with (N, E) float vectors of the same N images, at least `FEWEST`; rows that are zero or not
    finite in one of the two are left out. Raises `ValueError` where fewer are left."""
    if len(before_ND) != len(after_NE):
        raise ValueError(f"{len(before_ND)} vectors before and {len(after_NE)} after are not of the same images")
    usable = np.flatnonzero(_usable(before_ND) & _usable(after_NE))
    if len(usable) < FEWEST:
        raise ValueError(f"forgetting is measured on at least {FEWEST} images, and {len(usable)} have usable vectors")
    before, after = _unit(before_ND[usable]), _unit(after_NE[usable])
    random = np.random.default_rng(seed)
    shuffled = after[random.permutation(len(after))]
    return Forgetting(
        images=len(before),
        neighbours=mean_interval(kept_neighbours(before, after)),
        neighbours_by_chance=min(10, len(before) - 1) / (len(before) - 1),
        cka=linear_cka(before, after),
        cka_by_chance=linear_cka(before, shuffled),
        aligned_cosine=aligned_cosine(before, after, random.permutation(len(before))),
    )


def kept_neighbours(before_ND: np.ndarray, after_NE: np.ndarray) -> np.ndarray:
    """(N,) float64: share of an image's ten nearest others by cosine before that are among those after."""
    own, shares = np.arange(len(before_ND)), np.empty(len(before_ND))
    there, here = cosines_of(before_ND.astype(np.float32)), cosines_of(after_NE.astype(np.float32))
    for part in parts(len(own)):
        shares[part] = recall_shares(without_own(here, part, own), without_own(there, part, own))
    return shares


def linear_cka(x_ND: np.ndarray, y_NE: np.ndarray) -> float:
    """Centred kernel alignment with linear kernels: the squared Frobenius norm of Y'X over the norms of X'X and Y'Y, of
    vectors without their means. Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited",
    section 3. NaN where one of the two is the same for all images."""
    x, y = (each.astype(np.float64) - each.mean(axis=0, dtype=np.float64) for each in (x_ND, y_NE))
    if len(x) < max(x.shape[1], y.shape[1]):
        # The same number from the (N, N) matrices of products, which are smaller then.
        x_products, y_products = x @ x.T, y @ y.T
        shared = float((x_products * y_products).sum())
        norms = float(np.linalg.norm(x_products) * np.linalg.norm(y_products))
    else:
        shared = float(np.linalg.norm(y.T @ x) ** 2)
        norms = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return shared / norms if norms > 0 else float("nan")


def aligned_cosine(before_ND: np.ndarray, after_NE: np.ndarray, order_N: np.ndarray) -> float | None:
    """Mean cosine of unit vectors after the orthogonal map that brings one to the other best: found on the images of
    the first half of `order_N`, measured on the rest. Vectors of the shorter length stand in the space of the longer.

    Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem": the map is UV' of the singular value
    decomposition of X'Y. None where the first half has no more images than the vectors have numbers: a map that fits
    everything would be found.
    """
    fitted, measured = np.array_split(order_N, 2)
    if len(fitted) <= max(before_ND.shape[1], after_NE.shape[1]):
        return None
    x, y = before_ND.astype(np.float64), after_NE.astype(np.float64)
    left, _, right = np.linalg.svd(x[fitted].T @ y[fitted], full_matrices=False)
    # Zeros that make the shorter ones as long add nothing to the products.
    return float(np.einsum("nd,nd->n", x[measured] @ left, y[measured] @ right.T).mean())


def _usable(vectors_ND: np.ndarray) -> np.ndarray:
    usable: np.ndarray = np.isfinite(vectors_ND).all(axis=1) & (vectors_ND != 0).any(axis=1)
    return usable


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    wide = vectors_ND.astype(np.float64)
    unit: np.ndarray = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit
