"""The rule for a loss, and the bootstrap behind it, on values whose answer is known."""

import numpy as np
import pytest

from pipelines.gate.paired import paired


def compared(old: np.ndarray, new: np.ndarray) -> tuple[float, float, float]:
    found = paired(old.astype(float), new.astype(float), resamples=2000, seed=0)
    return found.difference, found.low, found.high


def test_the_same_values_differ_by_nothing() -> None:
    values = np.random.default_rng(0).random(50)
    assert compared(values, values) == (0, 0, 0)
    assert not paired(values, values, resamples=100, seed=0).lost(0.0)


def test_a_large_and_certain_loss_is_lost() -> None:
    old, new = np.ones(100), np.ones(100)
    new[:30] = 0
    difference, low, high = compared(old, new)
    assert difference == pytest.approx(-0.3)
    # The mean of 100 draws that are -1 by 30 % has a standard deviation of 0.0458.
    assert low == pytest.approx(-0.3 - 1.96 * 0.0458, abs=0.015)
    assert high == pytest.approx(-0.3 + 1.96 * 0.0458, abs=0.015)
    assert paired(old, new, resamples=2000, seed=0).lost(0.02)


def test_a_certain_loss_that_is_small_passes() -> None:
    old, new = np.full(1000, 0.9), np.full(1000, 0.885)
    found = paired(old, new, resamples=200, seed=0)
    assert found.high < 0
    assert not found.lost(0.02)
    assert found.lost(0.01)


def test_a_large_loss_that_may_be_chance_passes() -> None:
    old = np.array([1, 0, 1, 1, 0, 1, 0, 1, 1, 1.0])
    new = np.array([0, 1, 1, 1, 0, 1, 0, 1, 0, 1.0])
    found = paired(old, new, resamples=2000, seed=0)
    assert found.difference == pytest.approx(-0.1)
    assert found.high >= 0
    assert not found.lost(0.02)


def test_a_gain_is_never_a_loss() -> None:
    assert not paired(np.zeros(10), np.ones(10), resamples=100, seed=0).lost(0.0)


def test_queries_without_a_value_are_left_out_of_both() -> None:
    found = paired(np.array([1, np.nan, 0, 1.0]), np.array([0, 1, np.nan, 1.0]), resamples=100, seed=0)
    assert (found.queries, found.old, found.new) == (2, 1.0, 0.5)
    with pytest.raises(ValueError, match="no query"):
        paired(np.array([np.nan]), np.array([1.0]), resamples=100, seed=0)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(3), 0
    for _ in range(200):
        values = random.normal(0.1, 1, 80)
        found = paired(np.zeros(80), values, resamples=400, seed=1)
        held += found.low <= 0.1 <= found.high
    assert 180 <= held <= 198


def test_many_queries_are_resampled_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=300)
    whole = paired(np.zeros(300), values, resamples=500, seed=7)
    monkeypatch.setattr("pipelines.gate.paired._NUMBERS_AT_ONCE", 900)
    assert paired(np.zeros(300), values, resamples=500, seed=7) == whole
