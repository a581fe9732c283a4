"""Statistics of two samples by their labels, for any number of labellings at once: the mean, the Fréchet distance, the
masses of clusters, the norms. Each is 0 where the samples are alike."""

import numpy as np

from pipelines.drift.moments import frechet_distances

FRECHET_DIRECTIONS = 32
"""Directions of the Fréchet distance under random labels: the cost grows with their square."""


class MeanStatistic:
    """The distance of the means in units of the spread of both samples together."""

    def __init__(self, points_NK: np.ndarray, variance: float) -> None:
        self._points_NK, self._variance = points_NK, variance

    def __call__(self, labels_BN: np.ndarray) -> np.ndarray:
        labels = labels_BN.astype(np.float64)
        rows = len(self._points_NK)
        second_B1 = labels.sum(axis=1, keepdims=True)
        # The points have the mean 0, so the first sample's sum is minus the second's.
        sums_BK = labels @ self._points_NK
        apart_B = np.linalg.norm(sums_BK * (1 / second_B1 + 1 / (rows - second_B1)), axis=1)
        shifts: np.ndarray = apart_B / self._variance**0.5 if self._variance else np.zeros(len(labels))
        return shifts


class FrechetStatistic:
    """The squared Fréchet distance in the first directions, as a share of the variance of both samples together."""

    def __init__(self, points_NK: np.ndarray, variance: float) -> None:
        points = points_NK[:, :FRECHET_DIRECTIONS]
        self._dim, self._variance = points.shape[1], variance
        self._upper = np.triu_indices(self._dim)
        self._points_NK = points
        self._products_NP = points[:, self._upper[0]] * points[:, self._upper[1]]
        self._all_products_P = self._products_NP.sum(axis=0)

    def __call__(self, labels_BN: np.ndarray) -> np.ndarray:
        if not self._dim:
            return np.zeros(len(labels_BN))
        labels = labels_BN.astype(np.float64)
        second_B1 = labels.sum(axis=1, keepdims=True)
        sums_BK, products_BP = labels @ self._points_NK, labels @ self._products_NP
        second = self._moments(sums_BK, products_BP, second_B1)
        first = self._moments(-sums_BK, self._all_products_P - products_BP, len(self._points_NK) - second_B1)
        distances: np.ndarray = frechet_distances(*first, *second) / self._variance
        return distances

    def _moments(
        self, sums_BK: np.ndarray, products_BP: np.ndarray, rows_B1: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, K) means and (B, K, K) covariances from sums."""
        means = sums_BK / rows_B1
        products = np.zeros((len(sums_BK), self._dim, self._dim))
        products[:, *self._upper] = products_BP
        products[:, self._upper[1], self._upper[0]] = products_BP
        rows_B11 = rows_B1[:, :, None]
        return means, (products - rows_B11 * means[:, :, None] * means[:, None, :]) / np.maximum(rows_B11 - 1, 1)


class ClusterStatistic:
    """The total variation between the masses of clusters: the share of one sample that would have to move."""

    def __init__(self, clusters_N: np.ndarray, count: int) -> None:
        self._members_NC = np.eye(count, dtype=np.float32)[clusters_N]

    def __call__(self, labels_BN: np.ndarray) -> np.ndarray:
        # Counts below 2^24 are exact in float32.
        second_BC = (labels_BN.astype(np.float32) @ self._members_NC).astype(np.float64)
        first_BC = self._members_NC.sum(axis=0, dtype=np.float64) - second_BC
        masses = [each / each.sum(axis=1, keepdims=True) for each in (first_BC, second_BC)]
        variation: np.ndarray = 0.5 * np.abs(masses[0] - masses[1]).sum(axis=1)
        return variation


class NormStatistic:
    """The largest difference between the distributions of the norms (Kolmogorov and Smirnov).

    Norms count in thousandths of their median: those of unit vectors differ by as much as their last digits, and by who
    rounded them.
    """

    def __init__(self, norms_N: np.ndarray) -> None:
        median = float(np.median(norms_N))
        norms_N = np.round(norms_N / median, 3) if median > 0 else norms_N
        self._order = np.argsort(norms_N, kind="stable")
        ordered = norms_N[self._order]
        self._last = np.append(ordered[1:] != ordered[:-1], True)

    def __call__(self, labels_BN: np.ndarray) -> np.ndarray:
        second_BN = np.cumsum(labels_BN[:, self._order], axis=1, dtype=np.int64)
        first_BN = np.arange(1, labels_BN.shape[1] + 1) - second_BN
        shares = [each[:, self._last] / each[:, -1:] for each in (first_BN, second_BN)]
        differences: np.ndarray = np.abs(shares[0] - shares[1]).max(axis=1)
        return differences
