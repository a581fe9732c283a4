"""Centres fitted on a sample of a table's vectors, and how many there should be."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.base.errors import UserError
from operators.normalize import l2_normalize
from operators.vectors.spherical_kmeans import FittedClusters, fit_clusters, nearest_centre
from pipelines.evaluation.queries import draw_with_image, has_vectors
from pipelines.space.flat import flat_numpy

FEWEST_A_CLUSTER = 40
"""Vectors of the sample for each centre: about what faiss asks for (39)."""
TRIED_ROWS, SCORED_ROWS = 16_384, 4_096
"""Vectors on which each number of clusters is tried, and those of them whose silhouettes are taken: of these, all
pairs of cosines are held, 128 MiB."""
MOST_TRIED = 256
_STEP = math.sqrt(2)


@dataclass(frozen=True, kw_only=True)
class TriedK:
    """A number of clusters, and how well they are apart."""

    k: int
    silhouette: float
    """Mean over the scored vectors, -1 to 1."""


def sample_units(dataset: Any, column: str, rows: int, *, seed: int) -> np.ndarray:
    """(N, D) float32 unit vectors of up to `rows` rows at random that are not marked as deleted and have a vector."""
    drawn = draw_with_image(dataset, [column], rows, seed)
    found = drawn[column].filter(has_vectors(drawn[column]))
    return l2_normalize(flat_numpy(found).astype(np.float32)) if len(found) else np.zeros((0, 0), np.float32)


def choose_k(
    units_ND: np.ndarray, *, seed: int, on_tried: Callable[[int], None] = lambda k: None
) -> tuple[int, list[TriedK]]:
    """The number of clusters with the largest mean silhouette among those tried: 2, 3, 4, 6, 8, … by steps of the
    square root of two, up to 256 and to a centre for 40 vectors.

    Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis", by cosine
    distances (scikit-learn). It favours few, round clusters of like size, and always names a number, also where there
    are no clusters at all: a value near 0 says so. Raises `UserError` for too few vectors.
    """
    from sklearn.metrics import silhouette_score
    from sklearn.metrics.pairwise import cosine_distances

    # Drawn anew: the sample is in the table's order.
    order = np.random.default_rng(seed).permutation(len(units_ND))[:TRIED_ROWS]
    tried_on = units_ND[order]
    grid = _grid(min(MOST_TRIED, len(tried_on) // FEWEST_A_CLUSTER))
    if not grid:
        raise UserError(
            f"{len(units_ND):,} vectors are too few to choose a number of clusters by ({2 * FEWEST_A_CLUSTER} at "
            "least); give one with --k"
        )
    scored = tried_on[:SCORED_ROWS]
    distances = cosine_distances(scored)
    np.fill_diagonal(distances, 0)
    found = []
    for k in grid:
        on_tried(k)
        labels, _ = nearest_centre(scored, fit_clusters(tried_on, k, seed=seed).centres)
        apart = len(np.unique(labels)) > 1
        found.append(TriedK(k=k, silhouette=_score(silhouette_score, distances, labels) if apart else -1.0))
    return max(found, key=lambda each: each.silhouette).k, found


def _score(silhouette_score: Callable[..., Any], distances: np.ndarray, labels: np.ndarray) -> float:
    return float(silhouette_score(distances, labels, metric="precomputed"))


def _grid(most: int) -> Sequence[int]:
    numbers = {round(2 * _STEP**step) for step in range(2 * MOST_TRIED.bit_length())}
    return sorted(number for number in numbers if number <= most)


def fit_on_sample(units_ND: np.ndarray, k: int, *, seed: int) -> FittedClusters:
    """The centres. Raises `UserError` where the sample is too small for so many."""
    if len(units_ND) < k:
        raise UserError(
            f"--k {k}: the sample has {len(units_ND):,} rows with a vector, and each cluster needs one at least; ask "
            "for fewer clusters, or raise --sample"
        )
    return fit_clusters(units_ND, k, seed=seed)
