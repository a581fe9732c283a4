"""The classifier's AUC, against scikit-learn's discriminant analysis and ROC curve on the same folds."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from pipelines.drift.classifier import FOLDS, AucStatistic, auc_with_variance

ROWS, DIM = 200, 5


def made(shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.repeat([False, True], [120, 80])
    points = random.normal(size=(ROWS, DIM)) @ random.normal(size=(DIM, DIM))
    return points - points.mean(0) + np.outer(labels, np.full(DIM, shift)), labels


def folds(images: np.ndarray, seed: int) -> np.ndarray:
    count = len(np.unique(images))
    return (np.random.default_rng(seed).permutation(count) % FOLDS)[np.unique(images, return_inverse=True)[1]]


def test_auc_is_that_of_a_discriminant_analysis_on_the_same_folds() -> None:
    points, labels = made(0.5)
    images = np.arange(ROWS)
    other = np.random.default_rng(4).permutation(labels)
    found = AucStatistic(points, images, seed=3)(np.stack([labels, other]))
    for own, auc in zip((labels, other), found, strict=True):
        won = pairs = 0.0
        for fold in range(FOLDS):
            tested = folds(images, 3) == fold
            fitted = LinearDiscriminantAnalysis(solver="lsqr").fit(points[~tested], own[~tested])
            weight = own[tested].sum() * (~own[tested]).sum()
            won += weight * roc_auc_score(own[tested], fitted.decision_function(points[tested]))
            pairs += weight
        assert auc == pytest.approx(won / pairs, abs=1e-6)


def test_interval_holds_the_auc_and_narrows_with_rows() -> None:
    points, labels = made(0.5)
    statistic = AucStatistic(points, np.arange(ROWS), seed=0)
    auc = statistic.interval(labels, 0.0)
    assert auc.value == pytest.approx(statistic(labels[None])[0])
    assert 0.5 < auc.low < auc.value < auc.high <= 1
    assert statistic.interval(labels, 0.2).high - auc.value == pytest.approx(min(1 - auc.value, 1.96 * 0.2))
    doubled = AucStatistic(np.tile(points, (4, 1)), np.tile(np.arange(ROWS), 4), seed=0)
    narrow = doubled.interval(np.tile(labels, 4), 0.0)
    assert narrow.high - narrow.low < 0.6 * (auc.high - auc.low)


def test_variance_is_that_of_the_pairs() -> None:
    """DeLong's components by their definition, a loop over all pairs; with ties."""
    random = np.random.default_rng(0)
    first, second = random.integers(0, 8, 30).astype(float), random.integers(2, 10, 20).astype(float)
    wins = (second[:, None] > first) + 0.5 * (second[:, None] == first)
    auc, variance = auc_with_variance(first, second)
    assert auc == pytest.approx(roc_auc_score(np.repeat([0, 1], [30, 20]), np.concatenate([first, second])))
    assert variance == pytest.approx(wins.mean(1).var(ddof=1) / 20 + wins.mean(0).var(ddof=1) / 30)


def test_an_image_is_never_on_both_sides() -> None:
    """The same images in both samples: with one's copy among the training rows, the other would be told by it."""
    points = np.random.default_rng(0).normal(size=(40, 30))
    labels, images = np.repeat([False, True], 40), np.tile(np.arange(40), 2)
    both = np.concatenate([points, points])
    assert AucStatistic(both, images, seed=0)(labels[None])[0] == pytest.approx(0.5)
    assert AucStatistic(both, np.arange(80), seed=0)(labels[None])[0] < 0.4


def test_a_sample_without_rows_in_a_fold_and_points_without_directions() -> None:
    points, labels = made(0.0)
    few = np.zeros(ROWS, bool)
    few[:2] = True
    statistic = AucStatistic(points, np.arange(ROWS), seed=0)
    assert 0 <= statistic(few[None])[0] <= 1
    nothing = AucStatistic(np.zeros((ROWS, 0)), np.arange(ROWS), seed=0)
    assert nothing(labels[None])[0] == 0.5
