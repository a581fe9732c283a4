"""Old against new on the same queries: the difference, how sure it is, and whether it is a loss.

**The rule.** The new column has lost where its mean is below the old one's by more than `max_loss` *and* the 95 %
bootstrap interval of the paired difference lies below zero altogether. A small loss passes however sure it is, and so
does a large one that may be chance: few queries cannot fail a column by bad luck, nor can they prove it good, which is
why the interval is always shown.
"""

from dataclasses import dataclass

import numpy as np

_NUMBERS_AT_ONCE = 4_000_000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Means over the same queries, and the interval of their difference."""

    old: float
    new: float
    low: float
    high: float
    """The ends of the 95 % percentile interval of new less old, by bootstrap over queries."""
    queries: int

    @property
    def difference(self) -> float:
        return self.new - self.old

    def lost(self, max_loss: float) -> bool:
        """Whether the new column has lost, by the rule of this module."""
        return self.difference < -max_loss and self.high < 0


def paired(old_Q: np.ndarray, new_Q: np.ndarray, *, resamples: int, seed: int) -> Paired:
    """From one value a query, (Q,) float64 each; a query with a NaN in either is left out. Raises `ValueError` where
    none is left."""
    known = ~(np.isnan(old_Q) | np.isnan(new_Q))
    old_Q, new_Q = old_Q[known], new_Q[known]
    if not len(old_Q):
        raise ValueError("no query has a value in both columns")
    low, high = np.quantile(
        _resampled_means(new_Q - old_Q, resamples, np.random.default_rng(seed)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    )
    return Paired(
        old=float(old_Q.mean()), new=float(new_Q.mean()), low=float(low), high=float(high), queries=len(old_Q)
    )


def _resampled_means(values_Q: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """(resamples,): means of as many values, drawn with replacement."""
    count = len(values_Q)
    at_once = max(1, _NUMBERS_AT_ONCE // count)
    parts = [
        values_Q[random.integers(0, count, (min(at_once, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, at_once)
    ]
    return np.concatenate(parts)
