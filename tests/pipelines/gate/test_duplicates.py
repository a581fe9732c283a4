"""Rows with the vector of another image, counted in memory and over files, against counting by hand."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vectors_from_numpy
from pipelines.gate.duplicates import DuplicateCount, image_hashes, vector_hashes


def by_hand(vectors: np.ndarray, images: np.ndarray) -> int:
    of_vector = defaultdict(list)
    for vector, image in zip(vectors.tolist(), images.tolist(), strict=True):
        of_vector[vector].append(image)
    return sum(len(own) for own in of_vector.values() if len(set(own)) > 1)


@pytest.mark.parametrize("held", [1 << 21, 100])
def test_rows_are_counted_whatever_fits_in_memory(tmp_path: Path, held: int) -> None:
    random = np.random.default_rng(0)
    vectors = random.integers(0, 4000, 5000).astype(np.uint64) * np.uint64(2**64 // 4001)
    images = random.integers(0, 3, 5000).astype(np.uint64)
    count = DuplicateCount(tmp_path / "scratch", held)
    for part in np.array_split(np.arange(5000), 60):
        count.add(vectors[part], images[part])
    assert count.duplicates() == by_hand(vectors, images) > 0
    assert (tmp_path / "scratch").exists() == (held == 100)


def test_a_collapsed_column_takes_no_room(tmp_path: Path) -> None:
    count = DuplicateCount(tmp_path / "scratch", 1000)
    for start in range(0, 100_000, 1000):
        count.add(np.full(1000, 7, np.uint64), np.arange(start, start + 1000).astype(np.uint64))
    assert count.duplicates() == count.rows == 100_000
    assert not (tmp_path / "scratch").exists()


def test_the_same_image_twice_is_no_duplicate(tmp_path: Path) -> None:
    count = DuplicateCount(tmp_path)
    count.add(np.array([1, 1, 2], np.uint64), np.array([5, 5, 5], np.uint64))
    assert count.duplicates() == 0


def test_vectors_are_told_apart_by_any_bit() -> None:
    base = np.random.default_rng(0).normal(size=8).astype(np.float16)
    rows = np.repeat(base[None], 34, axis=0)
    for at in range(16):
        rows[1 + at, at % 8] = np.nextafter(rows[1 + at, at % 8], np.float16(2 if at < 8 else -2))
        # Two signs flipped: what sums of words modulo 2^64 take for the same.
        rows[17 + at, [3, 7 if at == 0 else at % 3]] *= -1
    hashes = vector_hashes(pa.chunked_array([vectors_from_numpy(rows)]))
    assert len(set(hashes.tolist())) == len({row.tobytes() for row in rows})
    assert hashes[33] == vector_hashes(pa.chunked_array([vectors_from_numpy(rows[33:])]))[0]


def test_nulls_and_lists_of_vectors_have_hashes_too() -> None:
    one = vectors_from_numpy(np.eye(4, dtype=np.float32))
    lists = pa.ListArray.from_arrays([0, 2, 2, 4], one)
    hashes = vector_hashes(pa.chunked_array([lists]))
    assert len(set(hashes.tolist())) == 3
    empty = vector_hashes(pa.chunked_array([pa.nulls(2, one.type)]))
    assert len(empty) == 2
    assert len(vector_hashes(pa.chunked_array([], one.type))) == 0


def test_an_image_without_a_digest_is_told_by_its_id() -> None:
    digests = pa.chunked_array([pa.array(["a", None, None], pa.string())])
    hashes = image_hashes(digests, pa.chunked_array([pa.array(["x", "y", "z"])]))
    assert len(set(hashes.tolist())) == 3
