"""Sums without rounding: against Python's own rational numbers, and the same in any order and partition."""

from fractions import Fraction

import numpy as np
import pytest

from operators.base.errors import UserError
from operators.vectors import exact_sums
from operators.vectors.exact_sums import GRID_BITS, ExactSums


def summed(vectors: np.ndarray, parts: int = 1) -> ExactSums:
    """The parts summed one by one and merged."""
    bits = GRID_BITS[str(vectors.dtype)]
    total = ExactSums(vectors.shape[1], bits)
    for part in np.array_split(vectors, parts):
        sums = ExactSums(vectors.shape[1], bits)
        sums.add(part)
        total.merge(sums)
    return total


def exact_covariance(vectors: np.ndarray) -> np.ndarray:
    """In rational numbers, rounded at the end."""
    rows = [[Fraction(float(x)) for x in vector] for vector in vectors]
    count, dim = len(rows), len(rows[0])
    mean = [sum(column) / count for column in zip(*rows, strict=True)]
    return np.array(
        [
            [float(sum((r[i] - mean[i]) * (r[j] - mean[j]) for r in rows) / (count - 1)) for j in range(dim)]
            for i in range(dim)
        ]
    )


def unit(rows: int, dim: int, dtype: str = "f2", seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)


def hostile(rows: int) -> np.ndarray:
    """float16 of every size side by side: the largest, the smallest, a column near 1, a constant one, and zeros."""
    rng = np.random.default_rng(5)
    vectors = np.zeros((rows, 6), "f2")
    vectors[:, 0] = rng.choice([-65504, 65504, 60000], rows)
    vectors[:, 1] = rng.choice([2**-24, -(2**-24), 2**-14], rows)
    vectors[:, 2] = 1 - rng.random(rows) / 100
    vectors[:, 3] = 0.75
    vectors[:, 4] = rng.normal(size=rows) * 2000
    return vectors


@pytest.mark.parametrize(
    "vectors", [unit(300, 7), hostile(300), unit(300, 7) * np.float16(3)], ids=["unit", "all", "3"]
)
def test_float16_covariance_is_the_exact_one_rounded_once(vectors: np.ndarray) -> None:
    sums = summed(vectors)
    assert np.array_equal(sums.covariance(), exact_covariance(vectors))
    means = [float(sum(Fraction(float(x)) for x in column) / 300) for column in vectors.T]
    assert sums.mean().tolist() == means


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_float32_covariance_is_the_exact_one_of_the_grid(scale: float) -> None:
    vectors = unit(200, 6, "f4") * np.float32(scale)
    on_grid = np.rint(vectors.astype("f8") * 2**25) / 2**25
    assert np.abs(on_grid - vectors).max() <= 2**-26
    assert np.array_equal(summed(vectors).covariance(), exact_covariance(on_grid))


@pytest.mark.parametrize(
    "vectors", [unit(5000, 40), hostile(5000), unit(5000, 40, "f4")], ids=["unit", "hostile", "f4"]
)
def test_the_same_bits_in_any_order_and_partition(vectors: np.ndarray) -> None:
    expected = summed(vectors)
    for parts in (3, 7, 500):
        shuffled = np.random.default_rng(parts).permutation(vectors)
        sums = summed(shuffled, parts)
        assert sums.covariance().tobytes() == expected.covariance().tobytes()
        assert sums.mean().tobytes() == expected.mean().tobytes()


def test_a_huge_column_beside_one_that_needs_no_cut() -> None:
    """The products of the two alone pass 2^53."""
    vectors = np.random.default_rng(2).uniform(0.5, 1, (2048, 3)).astype("f4") * np.array([60000, 0.07, 0.07], "f4")
    on_grid = np.rint(vectors.astype("f8") * 2**25) / 2**25
    assert np.array_equal(summed(vectors).covariance(), exact_covariance(on_grid))


def test_a_naive_float64_sum_would_not_be_the_same() -> None:
    """What the exact sums are for; should this fail one day, they can go."""
    vectors = hostile(5000).astype("f8")
    halves = vectors[:1700].T @ vectors[:1700] + vectors[1700:].T @ vectors[1700:]
    assert not np.array_equal(vectors.T @ vectors, halves)


def test_long_sums_do_not_overflow() -> None:
    """10^13 rows, by merging sums with themselves."""
    sums = summed(hostile(1000))
    once = sums.covariance()
    for _ in range(33):
        sums.merge(sums)
    assert sums.rows == 1000 << 33
    assert np.allclose(sums.covariance(), once * 999 / 1000, rtol=1e-12, atol=0)


def test_numbers_beyond_the_grid_are_refused() -> None:
    with pytest.raises(UserError, match=r"a vector holds 70000; exact sums take numbers up to 65536 in size"):
        summed(np.full((2, 3), 70000, "f4"))


def test_products_are_cut_only_where_they_must_be() -> None:
    products = dict(exact_sums._exact_products(unit(2048, 64).astype("f8") * 2**20))
    assert list(products) == [0]
    one_large = unit(512, 64).astype("f8")
    one_large[:, 5] = 1.0
    products = dict(exact_sums._exact_products(one_large * 2**24))
    assert sorted(products) == [0, 14, 28]
    assert np.flatnonzero(products[28].any(axis=0)).tolist() == [5]
