"""How good classes are on rows whose label is known: accuracy, recall, calibration, confusion, with intervals."""

from dataclasses import dataclass

import numpy as np

from operators.vectors.class_scores import softmax

BINS = 15
RESAMPLES = 1000
LEVEL = 0.95


def log_loss(probabilities_NC: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood of the labels (N,)."""
    own = probabilities_NC[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, 1e-12)).mean())


def fit_temperature(logits_NC: np.ndarray, labels: np.ndarray) -> float:
    """The number that logits are divided by for the least log loss on held-out rows (Guo et al. 2017, "On Calibration
    of Modern Neural Networks", 4.2), from 0.001 to 1000; 1 without rows. It changes no row's best class."""
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0
    found = minimize_scalar(
        lambda log: log_loss(softmax(logits_NC / np.exp(log)), labels),
        bounds=(np.log(1e-3), np.log(1e3)),
        method="bounded",
    )
    return float(np.exp(found.x))


def calibration_error(scores: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error (Naeini, Cooper, Hauskrecht 2015): the mean, over 15 bins of equal width weighted by
    their rows, of the difference between the scores (N,) and the share that is right (N,) bool."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    rows = np.bincount(bins, minlength=BINS)
    gaps = np.abs(np.bincount(bins, scores, BINS) - np.bincount(bins, right, BINS))
    return float(gaps.sum() / max(rows.sum(), 1))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure and where it lies in 95 % of the resamples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ClassMeasurement:
    """What predictions are worth on N rows."""

    accuracy: Interval
    recalls: list[Interval | None]
    """By class; None for a class that no row has."""
    confusion: np.ndarray
    """(C, C) int64: rows by their label (first) and predicted class."""


def measure(
    labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int, *, seed: int
) -> ClassMeasurement:
    """Accuracy and recall by class with percentile bootstrap intervals: whole groups are drawn again, since the rows of
    one are not independent (Davison, Hinkley 1997, "Bootstrap Methods and their Application", 3.8)."""
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max(initial=-1)) + 1
    rows, right = np.zeros((count, classes)), np.zeros((count, classes))
    np.add.at(rows, (codes, labels), 1)
    np.add.at(right, (codes, labels), predicted == labels)
    random = np.random.default_rng(seed)
    all_rows, all_right = np.zeros((RESAMPLES, classes)), np.zeros((RESAMPLES, classes))
    for each in range(RESAMPLES):
        times = np.bincount(random.integers(0, count, count), minlength=count)
        all_rows[each], all_right[each] = times @ rows, times @ right
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = [
            _interval(right[:, each].sum() / rows[:, each].sum(), all_right[:, each] / all_rows[:, each])
            if rows[:, each].any()
            else None
            for each in range(classes)
        ]
        accuracy = _interval(right.sum() / rows.sum(), all_right.sum(1) / all_rows.sum(1))
    return ClassMeasurement(accuracy=accuracy, recalls=recalls, confusion=confusion)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=float(value), low=float(low), high=float(high))


def suspicious(labels: np.ndarray, votes_NC: np.ndarray, share: float) -> np.ndarray:
    """Indices of rows of whose neighbours' votes at least this share is for one other class, the most certain first.

    Wilson 1972, "Asymptotic properties of nearest neighbor rules using edited data", with a share for the majority.
    """
    best = votes_NC.argmax(1)
    top = votes_NC[np.arange(len(best)), best]
    found = np.flatnonzero((best != labels) & (top >= share))
    ordered: np.ndarray = found[np.argsort(-top[found], kind="stable")]
    return ordered
