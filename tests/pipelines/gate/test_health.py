"""Counts over two columns against NumPy, in one scan of the live rows."""

from pathlib import Path

import numpy as np

from made.two_columns import NEW, OLD, unit, write
from pipelines.gate.health import measure_health


def test_counts_are_those_that_numpy_makes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    old, new = unit(random.normal(size=(200, 12))), unit(random.normal(size=(200, 8)))
    new[3, 2], new[4, 0], new[5] = np.nan, np.inf, 0
    new[10:14] *= 1.5
    new[20:23] = new[20]
    new[:, 6] = 0.25
    table = write(tmp_path, old, new, without=range(150, 160), deleted=[0, 3, 155])
    found = measure_health(table.latest(), [OLD, NEW], 0.3)
    assert (found[OLD].rows, found[OLD].filled, found[OLD].vectors) == (197, 197, 197)
    assert (found[OLD].not_finite, found[OLD].off_norm, found[OLD].constant, found[OLD].duplicates) == (0, 0, 0, 0)
    assert (found[NEW].rows, found[NEW].filled, found[NEW].vectors) == (197, 188, 188)
    # Row 3 is deleted, so its NaN is not counted; of the others one has an infinity, and one has no zeros alone.
    norms = np.linalg.norm(np.delete(new, [0, 3, 4, *range(150, 160)], 0), axis=1)
    assert found[NEW].not_finite == 1
    assert found[NEW].off_norm == int((np.abs(norms - 1) > 0.3).sum()) >= 4
    assert (found[NEW].dim, found[NEW].constant, found[NEW].duplicates) == (8, 1, 3)


def test_duplicates_of_the_same_bytes_are_none(tmp_path: Path) -> None:
    old = unit(np.random.default_rng(0).normal(size=(6, 4)))
    old[1] = old[0]
    table = write(tmp_path, old, old, sha256=["a", "a", "b", "c", "d", "e"])
    assert measure_health(table.latest(), [OLD], 0.01)[OLD].duplicates == 0


def test_one_vector_has_no_constant_numbers_and_none_is_all_right(tmp_path: Path) -> None:
    old = unit(np.random.default_rng(0).normal(size=(4, 4)))
    table = write(tmp_path, old, old, without=[1, 2, 3])
    assert measure_health(table.latest(), [NEW], 0.01)[NEW].constant == 0
    table = write(tmp_path, old, old, without=range(4), name="none")
    found = measure_health(table.latest(), [NEW], 0.01)[NEW]
    assert (found.rows, found.filled, found.vectors, found.duplicates) == (4, 0, 0, 0)
