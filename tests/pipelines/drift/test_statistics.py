"""Each statistic under several labellings at once, against SciPy and plain NumPy under each."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from pipelines.drift.moments import Moments, frechet_distance
from pipelines.drift.statistics import ClusterStatistic, FrechetStatistic, MeanStatistic, NormStatistic

ROWS, DIM = 70, 6
RANDOM = np.random.default_rng(0)
POINTS = RANDOM.normal(size=(ROWS, DIM)) * np.arange(DIM, 0, -1)
POINTS -= POINTS.mean(0)
LABELS = np.stack([RANDOM.permutation(np.arange(ROWS) < 25) for _ in range(5)])
VARIANCE = 11.0


def of(points: np.ndarray) -> Moments:
    return Moments(rows=len(points), mean=points.mean(0), covariance=np.cov(points, rowvar=False))


def test_mean() -> None:
    expected = [np.linalg.norm(POINTS[own].mean(0) - POINTS[~own].mean(0)) / VARIANCE**0.5 for own in LABELS]
    assert MeanStatistic(POINTS, VARIANCE)(LABELS) == pytest.approx(expected)


def test_frechet() -> None:
    expected = [frechet_distance(of(POINTS[~own]), of(POINTS[own])) / VARIANCE for own in LABELS]
    assert FrechetStatistic(POINTS, VARIANCE)(LABELS) == pytest.approx(expected)


def test_clusters() -> None:
    clusters = RANDOM.integers(0, 4, ROWS)
    masses = [[np.bincount(clusters[each], minlength=4) / each.sum() for each in (own, ~own)] for own in LABELS]
    expected = [np.maximum(one - other, 0).sum() for one, other in masses]
    assert ClusterStatistic(clusters, 4)(LABELS) == pytest.approx(expected)


def test_norms() -> None:
    norms = RANDOM.integers(800, 1200, ROWS) / 1000
    norms[0] = np.sort(norms)[ROWS // 2 - 1] = np.sort(norms)[ROWS // 2] = np.median(norms)
    rounded = np.round(norms / np.median(norms), 3)
    expected = [ks_2samp(rounded[own], rounded[~own]).statistic for own in LABELS]
    assert NormStatistic(norms)(LABELS) == pytest.approx(expected)


def test_unit_vectors_have_one_norm_whoever_rounded_them() -> None:
    norms = np.where(LABELS[0], 1 + 2e-4, 1 - 1e-4)
    assert NormStatistic(norms)(LABELS[:1]) == 0
    assert NormStatistic(norms * np.where(LABELS[0], 1.02, 1))(LABELS[:1]) == 1


def test_vectors_that_are_all_alike_do_not_differ() -> None:
    nothing = np.zeros((ROWS, 0))
    assert (MeanStatistic(nothing, 0.0)(LABELS) == 0).all()
    assert (FrechetStatistic(nothing, 0.0)(LABELS) == 0).all()
    assert (NormStatistic(np.zeros(ROWS))(LABELS) == 0).all()
