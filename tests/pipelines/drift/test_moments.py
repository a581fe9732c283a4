"""Moments compared, against SciPy's matrix square root and in closed form."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from operators.vectors.exact_sums import GRID_BITS, ExactSums
from pipelines.drift.moments import (
    Moments,
    effective_dim,
    frechet_distance,
    mean_shift,
    moments_of_sums,
    standard_errors,
)


def moments(vectors: np.ndarray) -> Moments:
    sums = ExactSums(vectors.shape[1], GRID_BITS["float32"])
    sums.add(vectors.astype(np.float32))
    return moments_of_sums(sums)


def test_moments_are_those_of_numpy_however_the_rows_come() -> None:
    vectors = made(500, 12, 0, shift=3).astype(np.float32)
    found = moments(vectors)
    assert found.mean == pytest.approx(vectors.astype(float).mean(0), abs=1e-7)
    assert found.covariance == pytest.approx(np.cov(vectors.astype(float), rowvar=False), abs=1e-6)
    assert (moments(vectors[::-1]).covariance == found.covariance).all()


def made(rows: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, dim)) @ np.random.default_rng(99).normal(size=(dim, dim)) / dim + shift


def test_frechet_distance_is_the_formula_with_a_matrix_square_root() -> None:
    one, other = moments(made(400, 12, 0)), moments(made(300, 12, 1, shift=0.3) * 1.4)
    root = sqrtm(one.covariance @ other.covariance).real
    expected = np.square(one.mean - other.mean).sum() + np.trace(one.covariance + other.covariance - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_of_fewer_rows_than_dimensions() -> None:
    """Both covariances are singular; in one common direction each the distance is that of two normal distributions."""
    one, other = (np.outer([-1.0, 1.0], axis) for axis in ([2.0, 0, 0, 0, 0], [3.0, 0, 0, 0, 0]))
    assert frechet_distance(moments(one), moments(other)) == pytest.approx((2 * 2**0.5 - 3 * 2**0.5) ** 2 / 1, rel=1e-9)
    few = moments(made(5, 40, 0))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(few, moments(made(6, 40, 1))) > 0


def test_standard_errors_are_about_one_where_nothing_moved() -> None:
    found = [standard_errors(moments(made(200, 16, 2 * at)), moments(made(100, 16, 2 * at + 1))) for at in range(40)]
    assert np.square(found).mean() == pytest.approx(1, abs=0.25)
    assert standard_errors(moments(made(200, 16, 0)), moments(made(100, 16, 1, shift=0.5))) > 5


def test_mean_shift_is_in_spreads_of_what_was_there() -> None:
    one = moments(np.array([[0.0, 0.0], [2.0, 0.0]]))
    assert mean_shift(one, moments(np.array([[0.0, 3.0], [2.0, 3.0]]))) == pytest.approx(3 / 2**0.5)
    still = moments(np.ones((3, 2)))
    assert mean_shift(still, still) == 0
    assert mean_shift(still, one) == float("inf")


def test_effective_dim() -> None:
    assert effective_dim(np.eye(7)) == pytest.approx(7)
    assert effective_dim(np.diag([5.0, 0, 0])) == pytest.approx(1)
    assert effective_dim(np.zeros((3, 3))) == 0
