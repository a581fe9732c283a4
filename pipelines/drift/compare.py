"""Two samples of vectors compared by every measure, each beside what chance alone gives."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.drift.classifier import Auc, AucStatistic
from pipelines.drift.clusters import nearest_centres
from pipelines.drift.relabel import Chance, Statistic, compare_with_chance
from pipelines.drift.statistics import ClusterStatistic, FrechetStatistic, MeanStatistic, NormStatistic

FEWEST = 20
"""Images that a sample needs for a test."""
MOST_DIRECTIONS = 64
_ROWS_A_DIRECTION = 5
"""Rows for each direction, at least: with fewer, a classifier learns the rows by heart."""
_SMALLEST = 1e-9
"""Share of the variance below which a direction is rounding."""
_CHUNK = 4096


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Two samples, the first one's rows before the second's; an image has one row in each at most."""

    vectors: np.ndarray
    """(N, D) float32, finite."""
    second: np.ndarray
    """(N,) bool: which rows are of the second sample."""
    images: np.ndarray
    """(N,) int64: the image of each row; one that is in both samples has the same number in both."""

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows of each sample."""
        second = int(self.second.sum())
        return len(self.second) - second, second

    @property
    def testable(self) -> bool:
        return min(self.sizes) >= FEWEST

    def of(self, chosen_N: np.ndarray) -> "Samples":
        """The rows that are chosen, (N,) bool."""
        return Samples(vectors=self.vectors[chosen_N], second=self.second[chosen_N], images=self.images[chosen_N])


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What tells two samples apart."""

    measures: dict[str, Chance]
    """`mean`, `frechet`, `auc`, `clusters`, `norms`."""
    auc: Auc
    directions: int
    """Principal components in which mean, Fréchet distance (32 at most) and classifier are tested."""
    masses: np.ndarray
    """(2, C): the share of each sample in each cluster."""
    plane: np.ndarray
    """(N, 2): the rows along the first two of the directions; zeros where there are fewer."""


def compare_samples(samples: Samples, centres_CD: np.ndarray, *, rounds: int, seed: int) -> Compared:
    """Compare by every measure. The centres must come from other rows: from rows of one of the samples they would lie
    nearer to it, whatever the other is."""
    points_NK, variance = principal_points(samples.vectors)
    clusters_N, _ = nearest_centres(samples.vectors, centres_CD)
    norms_N = np.linalg.norm(samples.vectors.astype(np.float64), axis=1)
    classifier = AucStatistic(points_NK, samples.images, seed=seed)
    statistics: dict[str, Statistic] = {
        "mean": MeanStatistic(points_NK, variance),
        "frechet": FrechetStatistic(points_NK, variance),
        "auc": classifier,
        "clusters": ClusterStatistic(clusters_N, len(centres_CD)),
        "norms": NormStatistic(norms_N),
    }
    counts = [np.bincount(clusters_N[own], minlength=len(centres_CD)) for own in (~samples.second, samples.second)]
    measures = compare_with_chance(statistics, samples.second, samples.images, rounds=rounds, seed=seed)
    return Compared(
        measures=measures,
        auc=classifier.interval(samples.second, measures["auc"].spread),
        directions=points_NK.shape[1],
        masses=np.array([each / each.sum() for each in counts]),
        plane=np.pad(points_NK[:, :2], ((0, 0), (0, max(0, 2 - points_NK.shape[1])))),
    )


class Directions(NamedTuple):
    """Vectors by the first principal components of both samples together, which no label has a part in."""

    points: np.ndarray
    """(N, K) float64, mean 0, by falling variance; K is 0 where all vectors are alike."""
    variance: float
    """The variance of the vectors in all their D directions together."""


def principal_points(vectors_ND: np.ndarray, most: int = MOST_DIRECTIONS) -> Directions:
    """(N, D) float32 vectors along at most `most` directions, and no more than one for five rows."""
    mean_D = vectors_ND.mean(axis=0, dtype=np.float64)
    rows, dim = vectors_ND.shape
    if rows > dim:
        values, axes_DK = np.linalg.eigh(_covariance(vectors_ND, mean_D))
        values, axes_DK = values[::-1], axes_DK[:, ::-1]
    else:
        _, sizes, axes_KD = np.linalg.svd(vectors_ND - mean_D, full_matrices=False)
        values, axes_DK = np.square(sizes) / max(rows - 1, 1), axes_KD.T
    variance = float(np.maximum(values, 0).sum())
    count = min(most, rows // _ROWS_A_DIRECTION, int((values > _SMALLEST * variance).sum()) if variance > 0 else 0)
    points = [(vectors_ND[start : start + _CHUNK] - mean_D) @ axes_DK[:, :count] for start in range(0, rows, _CHUNK)]
    return Directions(np.concatenate(points), variance)


def _covariance(vectors_ND: np.ndarray, mean_D: np.ndarray) -> np.ndarray:
    """(D, D) float64, summed in chunks: no copy of all vectors in float64."""
    total_DD = np.zeros((vectors_ND.shape[1],) * 2)
    for start in range(0, len(vectors_ND), _CHUNK):
        centred = vectors_ND[start : start + _CHUNK] - mean_D
        total_DD += centred.T @ centred
    return total_DD / max(len(vectors_ND) - 1, 1)
