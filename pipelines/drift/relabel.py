"""What chance alone gives: the labels of two samples dealt out anew, and a statistic compared with what it is then.

A permutation test is exact at any size and for any statistic. Several statistics are tested together by the largest of
them (maxT: Westfall and Young, "Resampling-Based Multiple Testing", 1993), so that the chance that any of them raises a
false alarm stays at the level asked for.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""From labels (B, N) bool, true for rows of the second sample, to (B,) float64, the larger the more they differ."""

_LABELS_AT_ONCE = 1_000_000
_ROUNDING = 1e-9
"""Of the values: by less they differ where they are equal. Those of a table beside itself lie 1e-13 apart, by the order
of sums."""


@dataclass(frozen=True, kw_only=True)
class Chance:
    """One statistic beside what it is under labels dealt out at random."""

    value: float
    by_chance: float
    """The mean of the statistic under such labels, and its standard deviation."""
    spread: float
    p: float
    """How often the largest of all statistics tested together is as far above its mean, in its standard deviations."""


def compare_with_chance(
    statistics: Mapping[str, Statistic], labels_N: np.ndarray, groups_N: np.ndarray, *, rounds: int, seed: int
) -> dict[str, Chance]:
    """Each statistic with its p, adjusted for all of them, from `rounds` random labels.

    `groups_N` (N,) int64 names the image of each row: an image has one row in a sample at most. Where it is in both,
    its two labels are swapped or not; all others are shuffled.
    """
    values = {name: [] for name in statistics}  # type: dict[str, list[np.ndarray]]
    for labels_BN in _batches(labels_N, groups_N, rounds, seed):
        for name, statistic in statistics.items():
            values[name].append(statistic(labels_BN))
    drawn = {name: np.concatenate(parts) for name, parts in values.items()}
    # The true labels are one of the draws, as all of them are alike where nothing differs: so the test is exact.
    scores = {name: _standardized(each) for name, each in drawn.items()}
    largest = np.max(list(scores.values()), axis=0)
    return {
        name: Chance(
            value=float(each[0]),
            by_chance=float(each[1:].mean()),
            spread=float(each[1:].std()),
            p=float((largest >= scores[name][0]).mean()),
        )
        for name, each in drawn.items()
    }


def _standardized(values: np.ndarray) -> np.ndarray:
    """(R,) in standard deviations from the mean, rounded so that equal values compare as equal."""
    spread = values.std()
    if spread <= _ROUNDING * np.abs(values).max():
        return np.zeros_like(values)
    scores: np.ndarray = np.round((values - values.mean()) / spread, 9)
    return scores


def _batches(labels_N: np.ndarray, groups_N: np.ndarray, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """(B, N) bool batches of labels, the true ones first."""
    yield labels_N[None]
    random = np.random.default_rng(seed)
    one, other = _pairs(groups_N)
    alone = np.ones(len(labels_N), bool)
    alone[one] = alone[other] = False
    at_once = max(1, _LABELS_AT_ONCE // len(labels_N))
    for start in range(0, rounds, at_once):
        count = min(at_once, rounds - start)
        labels_BN = np.repeat(labels_N[None], count, axis=0)
        labels_BN[:, alone] = random.permuted(labels_BN[:, alone], axis=1)
        swapped = random.random((count, len(one))) < 0.5
        labels_BN[:, one] ^= swapped
        labels_BN[:, other] ^= swapped
        yield labels_BN


def _pairs(groups_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the two rows of each image that is in both samples."""
    order = np.argsort(groups_N, kind="stable")
    same = groups_N[order][1:] == groups_N[order][:-1]
    return order[:-1][same], order[1:][same]
