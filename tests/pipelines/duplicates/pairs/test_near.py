"""Pairs in a cell, and cells that miss none, held against all products in float64."""

import numpy as np
import pytest

from pipelines.duplicates.pairs.cells import place, train_cells, unit_rows
from pipelines.duplicates.pairs.near import cell_pairs

T = 0.93


def alike(rows: int, dim: int, seed: int) -> np.ndarray:
    """(rows, dim) float16 in heaps, of any length."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(rows // 8, dim))
    vectors = centres[random.integers(0, len(centres), rows)] + random.normal(size=(rows, dim)) * 0.25
    return (vectors * random.uniform(0.5, 2, (rows, 1))).astype(np.float16)


def all_pairs(stored: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    exact = stored.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    one, other = np.nonzero(np.triu(exact @ exact.T >= threshold, 1))
    return set(zip(one.tolist(), other.tolist(), strict=True))


def test_all_pairs_at_home_and_those_with_visitors_come_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, value in (("_QUERIES", 37), ("_BASE", 53), ("_DECIDE_ROWS", 11)):
        monkeypatch.setattr(f"pipelines.duplicates.pairs.near.{limit}", value)
    stored = alike(300, 16, 0)
    home = np.arange(300) % 3 > 0
    found = cell_pairs(np.arange(300), home, stored, T).pairs
    wanted = {pair for pair in all_pairs(stored, T) if home[pair[0]] or home[pair[1]]}
    assert len(wanted) > 100
    assert sorted(zip(found["a"].tolist(), found["b"].tolist(), strict=True)) == sorted(wanted)


def test_equal_vectors_are_one() -> None:
    stored = alike(40, 16, 1)
    stored[[7, 9, 30]] = stored[2]
    found = cell_pairs(np.arange(100, 140), np.ones(40, bool), stored, T)
    assert found.copies.tolist() == [[107, 102], [109, 102], [130, 102]]
    assert not np.isin([107, 109, 130], [found.pairs["a"], found.pairs["b"]]).any()


def test_a_hash_that_two_vectors_share_makes_them_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.duplicates.pairs.near._hashes", lambda words: np.zeros(len(words), np.uint64))
    stored = alike(40, 16, 1)
    found = cell_pairs(np.arange(40), np.ones(40, bool), stored, T)
    assert len(found.copies) == 0
    assert len(found.pairs) == len(all_pairs(stored, T))


@pytest.mark.parametrize("threshold", [0.9, 0.97])
def test_where_the_cap_is_not_met_cells_miss_no_pair(threshold: float) -> None:
    stored = alike(2000, 12, 2)
    units = unit_rows(stored)
    centres = train_cells(units, 40, 0)
    placed = place(units, centres, threshold, 39)
    assert np.bincount(placed.rows[placed.home]).tolist() == [1] * 2000
    found = []
    for cell in range(40):
        own = placed.cells == cell
        pairs = cell_pairs(placed.rows[own], placed.home[own], stored[placed.rows[own]], threshold).pairs
        found += list(zip(pairs["a"].tolist(), pairs["b"].tolist(), strict=True))
    wanted = all_pairs(stored, threshold)
    assert sorted(found) == sorted(wanted)
    assert len(wanted) > 200
    # Fewer visits than all: what the border is for.
    assert len(placed.rows) < 2000 * 40 / 4
