"""How well a classifier tells two samples apart: the area under its ROC curve (AUC), on rows it was not trained on.

A classifier two-sample test (Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", 2017) with a linear
discriminant (Fisher, 1936). Its direction is S^-1 (m2 - m1), and with the covariance S of all training rows together it
is the same as with that within the samples, up to its length. S takes no labels, so that other labels cost one product.
"""

from typing import NamedTuple

import numpy as np

FOLDS = 5
_TIED = 9
"""Decimals, in units of the largest score, to which scores of equal vectors agree."""


class Auc(NamedTuple):
    """The AUC of a classifier, cross-validated: 0.5 where it is no better than chance."""

    value: float
    low: float
    high: float
    """Ends of the 95 % confidence interval."""


class AucStatistic:
    """The cross-validated AUC. All rows of an image are on one side, of training or of testing."""

    def __init__(self, points_NK: np.ndarray, groups_N: np.ndarray, *, seed: int) -> None:
        self._points_NK = points_NK
        images, image_N = np.unique(groups_N, return_inverse=True)
        fold_of_image = np.random.default_rng(seed).permutation(len(images)) % FOLDS
        self._tested = [fold_of_image[image_N] == fold for fold in range(FOLDS)]
        # (N of the fold, K): the test rows times the inverse covariance of the training rows.
        self._turned = [points_NK[tested] @ _inverse_covariance(points_NK[~tested]) for tested in self._tested]

    def __call__(self, labels_BN: np.ndarray) -> np.ndarray:
        """(B,): the mean of the folds' AUCs, by how many pairs of rows each has."""
        total, weights = np.zeros(len(labels_BN)), np.zeros(len(labels_BN))
        for tested, scores_NB in self._scores(labels_BN):
            placed, second_B = _places(scores_NB), labels_BN[:, tested]
            seconds = second_B.sum(axis=1)
            pairs = seconds * (tested.sum() - seconds)
            ranks = np.where(second_B.T, placed, 0).sum(axis=0)
            # As a sum over pairs: a fold without rows of one sample has none.
            total += ranks - seconds * (seconds + 1) / 2
            weights += pairs
        auc: np.ndarray = np.where(weights > 0, total / np.maximum(weights, 1), 0.5)
        return auc

    def interval(self, labels_N: np.ndarray, least_spread: float) -> Auc:
        """The AUC with its interval, from the variance within the folds (LeDell, Petersen and van der Laan,
        "Computationally efficient confidence intervals for cross-validated AUC estimates", 2015), and no narrower than
        by the standard deviation `least_spread` of the AUC under random labels: folds share their training rows, for
        which that variance does not account. Of 200 pairs of alike samples of 300 rows it held 0.5 for 170 by itself.
        """
        total = variance = weights = 0.0
        for tested, scores_NB in self._scores(labels_N[None]):
            first, second = scores_NB[~labels_N[tested], 0], scores_NB[labels_N[tested], 0]
            pairs = len(first) * len(second)
            if pairs:
                auc, of_auc = auc_with_variance(first, second)
                total, variance, weights = total + pairs * auc, variance + pairs**2 * of_auc, weights + pairs
        if not weights:
            return Auc(0.5, 0.0, 1.0)
        auc, half = total / weights, 1.96 * max(variance**0.5 / weights, least_spread)
        return Auc(auc, max(0.0, auc - half), min(1.0, auc + half))

    def _scores(self, labels_BN: np.ndarray) -> "list[tuple[np.ndarray, np.ndarray]]":
        """For each fold its rows, (N,) bool, and the scores (rows of the fold, B) that classifiers of the others
        give."""
        found = []
        for tested, turned_NK in zip(self._tested, self._turned, strict=True):
            labels = labels_BN[:, ~tested].astype(np.float64)
            second_B1 = labels.sum(axis=1, keepdims=True)
            first_B1 = labels.shape[1] - second_B1
            points = self._points_NK[~tested]
            sums_BK = labels @ points
            means = sums_BK / np.maximum(second_B1, 1) - (points.sum(axis=0) - sums_BK) / np.maximum(first_B1, 1)
            scores_NB = turned_NK @ means.T
            largest = np.abs(scores_NB).max(axis=0, initial=0.0)
            found.append((tested, np.round(scores_NB / np.where(largest > 0, largest, 1), _TIED)))
        return found


def auc_with_variance(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """(AUC, its variance) from the scores of two samples: the chance that one of `second` is higher than one of
    `first`, ties half, and the variance by DeLong, DeLong and Clarke-Pearson (1988)."""
    above = _below(second, first) / len(first)
    below = 1 - _below(first, second) / len(second)
    parts = [each.var(ddof=1) / len(each) if len(each) > 1 else 0.25 for each in (above, below)]
    return float(above.mean()), float(sum(parts))


def _below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(len(scores),): how many of the others each is above, ties half."""
    ordered = np.sort(others)
    counts: np.ndarray = (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / 2
    return counts


def _places(scores_NB: np.ndarray) -> np.ndarray:
    """(N, B): the rank of each score in its column from 1, equal ones at the mean of theirs."""
    order = np.argsort(scores_NB, axis=0)
    ordered = np.take_along_axis(scores_NB, order, 0)
    at = np.broadcast_to(np.arange(len(scores_NB))[:, None], scores_NB.shape)
    begins = np.ones(scores_NB.shape, bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    ends = np.ones(scores_NB.shape, bool)
    ends[:-1] = begins[1:]
    first = np.maximum.accumulate(np.where(begins, at, 0), axis=0)
    last = np.minimum.accumulate(np.where(ends, at, len(scores_NB))[::-1], axis=0)[::-1]
    places = np.empty(scores_NB.shape)
    np.put_along_axis(places, order, (first + last) / 2 + 1, 0)
    return places


def _inverse_covariance(points_NK: np.ndarray) -> np.ndarray:
    """(K, K), of the directions in which the rows vary."""
    centred = points_NK - points_NK.mean(axis=0)
    inverse: np.ndarray = np.linalg.pinv(centred.T @ centred / max(len(points_NK) - 1, 1), rcond=1e-12, hermitian=True)
    return inverse
