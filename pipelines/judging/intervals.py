"""How sure a mean is: percentile intervals by bootstrap over images.

Efron and Tibshirani 1993, "An Introduction to the Bootstrap". Images of one group are drawn together: near-duplicates
say the same thing twice, and drawn one by one they would make an interval too narrow.
"""

from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 1000
_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class MeanInterval:
    """A mean over images, and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float
    images: int
    """Images that have a value."""


def mean_interval(values_N: np.ndarray, groups_N: np.ndarray | None = None, *, seed: int = 0) -> MeanInterval | None:
    """From one value an image, (N,) float64, NaN where it has none, and the number of each image's group, (N,) int64;
    without them each image is a group. None where no image has a value."""
    known = ~np.isnan(values_N)
    values = values_N[known]
    if not len(values):
        return None
    groups = np.arange(len(values)) if groups_N is None else np.unique(groups_N[known], return_inverse=True)[1]
    sums, counts = np.bincount(groups, values), np.bincount(groups).astype(float)
    means = _resampled_means(sums, counts, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return MeanInterval(mean=float(values.mean()), low=float(low), high=float(high), images=len(values))


def _resampled_means(sums_G: np.ndarray, counts_G: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(RESAMPLES,): means over as many groups, drawn with replacement."""
    groups = len(sums_G)
    at_once = max(1, _NUMBERS_AT_ONCE // groups)
    means = []
    for start in range(0, RESAMPLES, at_once):
        drawn = random.integers(0, groups, (min(at_once, RESAMPLES - start), groups))
        means.append(sums_G[drawn].sum(axis=1) / counts_G[drawn].sum(axis=1))
    return np.concatenate(means)
