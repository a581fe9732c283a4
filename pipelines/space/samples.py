"""Samples of rows and of vectors, the same for the same version of the table."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.space.flat import flat_numpy
from pipelines.space.usable_rows import finite_rows

TAKE_ROWS = 8192


def draw_rows(dataset: Any, columns: Sequence[str], count: int, seed: int) -> Iterator[pa.Table]:
    """Columns of up to `count` different rows at random, in the table's order, as tables of at most `TAKE_ROWS`; one
    table without rows where there are none."""
    rows = dataset.count_rows()
    drawn = np.sort(np.random.default_rng(seed).choice(rows, min(count, rows), replace=False))
    for start in range(0, max(len(drawn), 1), TAKE_ROWS):
        yield dataset.take(drawn[start : start + TAKE_ROWS].tolist(), columns=list(columns))


def sample_vectors(dataset: Any, column: str, rows: int, *, seed: int = 0) -> np.ndarray:
    """(M, width): the vectors of up to `rows` rows from `draw_rows`, where they have any; rows with a number that is
    not finite are left out."""
    parts = []
    for drawn in draw_rows(dataset, [column], rows, seed):
        finite = drawn[column].filter(pa.array(finite_rows(drawn[column])))
        if len(finite):
            parts.append(flat_numpy(finite))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def row_sample(keys: np.ndarray, fraction: float) -> np.ndarray:
    """(N,) bool: which position keys (N,) int64 are in the sample, about `fraction` (0 to 1) of any.

    Keys with a small hash are in it, so a larger sample holds every smaller one.
    """
    sampled: np.ndarray = mixed(keys.astype(np.uint64)) < np.uint64(min(int(fraction * 2.0**64), 2**64 - 1))
    return sampled


def mixed(numbers: np.ndarray) -> np.ndarray:
    """(N,) uint64: a hash of each of (N,) uint64 numbers, another for every number. It is the mixer of G. L. Steele,
    D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators" (2014), known as splitmix64."""
    hashes: np.ndarray = numbers + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    hashes ^= hashes >> np.uint64(31)
    return hashes
