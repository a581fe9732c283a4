"""Means and covariances of two sets of vectors compared: the shift of the mean, and the Fréchet distance between the
Gaussians that have these moments."""

from dataclasses import dataclass

import numpy as np

from operators.vectors.exact_sums import ExactSums


@dataclass(frozen=True, kw_only=True)
class Moments:
    """The moments of N vectors, at least two."""

    rows: int
    mean: np.ndarray
    """(D,) float64."""
    covariance: np.ndarray
    """(D, D) float64, divisor N - 1, not shrunk: of fewer rows than dimensions it has a rank below D."""

    @property
    def variance(self) -> float:
        """The variance in all directions together, the trace of the covariance."""
        return float(np.trace(self.covariance))


def moments_of_sums(sums: ExactSums) -> Moments:
    """The moments of what was counted in, which are the same in whatever order that was. Needs two rows at least.

    Rounded where `ExactSums.covariance` is not, by 1e-16 of the mean square: that takes 0.5 s or more of Python's
    integers at 1,280 numbers, three times a comparison.
    """
    products_DD = np.zeros((sums.dim, sums.dim))
    for shift, (high, low) in sums.second.items():
        products_DD += (high * 2.0**32 + low) * 2.0**shift
    mean_D = sums.mean()
    covariance_DD = products_DD * 4.0**-sums.grid_bits - sums.rows * np.outer(mean_D, mean_D)
    return Moments(rows=sums.rows, mean=mean_D, covariance=covariance_DD / (sums.rows - 1))


def frechet_distance(one: Moments, other: Moments) -> float:
    """The squared Fréchet distance between two Gaussians (Dowson and Landau, 1982), as Heusel et al. (2017) compare
    images: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))."""
    distance = frechet_distances(one.mean[None], one.covariance[None], other.mean[None], other.covariance[None])
    return float(distance[0])


def frechet_distances(
    means_BD: np.ndarray, covariances_BDD: np.ndarray, other_means_BD: np.ndarray, other_covariances_BDD: np.ndarray
) -> np.ndarray:
    """(B,) float64: the squared distance of each pair.

    tr((S1 S2)^(1/2)) is taken as the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric
    and has none below zero but for rounding. So singular covariances are no special case, and nothing is shrunk.
    """
    values_BD, vectors_BDD = np.linalg.eigh(covariances_BDD)
    roots_BDD = vectors_BDD * np.sqrt(np.maximum(values_BD, 0))[:, None, :]
    # With R = V sqrt(L), R^T S2 R has the eigenvalues of S1^(1/2) S2 S1^(1/2).
    inner_BDD = roots_BDD.transpose(0, 2, 1) @ other_covariances_BDD @ roots_BDD
    shared_B = np.sqrt(np.maximum(np.linalg.eigvalsh(inner_BDD), 0)).sum(axis=1)
    spread_B = np.trace(covariances_BDD, axis1=1, axis2=2) + np.trace(other_covariances_BDD, axis1=1, axis2=2)
    apart_B = np.square(means_BD - other_means_BD).sum(axis=1)
    distances_B: np.ndarray = np.maximum(apart_B + spread_B - 2 * shared_B, 0)
    return distances_B


def mean_shift(one: Moments, other: Moments) -> float:
    """The distance of the means, in units of the spread of `one`, the root of its variance in all directions; infinite
    where that is nothing and the means differ."""
    distance = float(np.linalg.norm(one.mean - other.mean))
    if not distance:
        return 0.0
    return distance / one.variance**0.5 if one.variance else float("inf")


def standard_errors(one: Moments, other: Moments) -> float:
    """The distance of the means over the one that chance alone gives: the root of tr(S1)/n1 + tr(S2)/n2, which the
    squared distance has as its mean where rows are independent. About 1 where nothing has moved, whatever the dim."""
    chance = one.variance / one.rows + other.variance / other.rows
    distance = float(np.linalg.norm(one.mean - other.mean))
    if not distance:
        return 0.0
    return distance / chance**0.5 if chance else float("inf")


def effective_dim(covariance_DD: np.ndarray) -> float:
    """How many directions the vectors use: the participation ratio of the eigenvalues, tr(S)^2 / tr(S^2), from 1 to D;
    0 where nothing varies."""
    squares = float(np.square(covariance_DD).sum())
    return float(np.trace(covariance_DD)) ** 2 / squares if squares else 0.0
