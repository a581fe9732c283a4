"""What a training changed: same vectors are the same, turned ones too, others are not; figures against plain NumPy."""

import numpy as np
import pytest

from pipelines.judging.forgetting import aligned_cosine, kept_neighbours, linear_cka, measure_forgetting

random = np.random.default_rng(5)
BEFORE = random.normal(size=(200, 12)) + 0.5
TURN = np.linalg.qr(random.normal(size=(12, 12)))[0]
OTHER = random.normal(size=(200, 12)) + 0.5


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_turned_space_is_the_same_and_another_is_not() -> None:
    turned = measure_forgetting(BEFORE, 3 * BEFORE @ TURN)
    assert turned.neighbours is not None
    assert turned.neighbours.mean == pytest.approx(1)
    assert turned.cka == pytest.approx(1)
    assert turned.aligned_cosine == pytest.approx(1)
    other = measure_forgetting(BEFORE, OTHER)
    assert other.neighbours is not None
    assert other.neighbours.mean == pytest.approx(other.neighbours_by_chance, abs=0.06)
    assert other.cka < 0.15
    assert other.cka_by_chance < 0.15
    assert set(turned.as_metrics()) == {"kept_neighbours", "kept_cka", "kept_aligned_cosine", "kept_images"}


def test_neighbours_are_those_of_plain_sorting() -> None:
    after = BEFORE + 0.3 * OTHER

    def nearest(vectors: np.ndarray) -> list[set[int]]:
        scores = unit(vectors) @ unit(vectors).T
        np.fill_diagonal(scores, -np.inf)
        return [set(np.argsort(-row)[:10].tolist()) for row in scores]

    expected = [len(a & b) / 10 for a, b in zip(nearest(BEFORE), nearest(after), strict=True)]
    np.testing.assert_allclose(kept_neighbours(unit(BEFORE), unit(after)), expected, atol=1e-9)
    assert 0.3 < np.mean(expected) < 0.9


def test_cka_is_the_formula_of_centred_kernels_whichever_side_is_smaller() -> None:
    for count in (200, 8):
        x, y = BEFORE[:count], (BEFORE**2 + OTHER)[:count, :7]
        centre = np.eye(count) - 1 / count
        k, m = centre @ (x @ x.T) @ centre, centre @ (y @ y.T) @ centre
        hsic = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
        assert linear_cka(x, y) == pytest.approx(hsic)
    assert np.isnan(linear_cka(np.ones((5, 3)), BEFORE[:5]))


def test_the_map_is_judged_on_images_it_was_not_found_on() -> None:
    order = np.arange(200)
    scale, _, right = np.linalg.svd(unit(BEFORE)[:100].T @ unit(OTHER)[:100])
    by_hand = (unit(BEFORE)[100:] @ (scale @ right) * unit(OTHER)[100:]).sum(1).mean()
    assert aligned_cosine(unit(BEFORE), unit(OTHER), order) == pytest.approx(by_hand)
    # On the images that it was found on, any map looks better.
    fitted = (unit(BEFORE)[:100] @ (scale @ right) * unit(OTHER)[:100]).sum(1).mean()
    assert fitted > by_hand + 0.05
    assert aligned_cosine(unit(BEFORE)[:24], unit(OTHER)[:24], order[:24]) is None
    shorter = aligned_cosine(unit(BEFORE), unit(BEFORE @ TURN[:, :8]), order)
    assert shorter is not None
    assert 0.7 < shorter < 1


def test_vectors_that_are_none_are_left_out_and_too_few_are_refused() -> None:
    broken = BEFORE.copy()
    broken[3], broken[4] = np.nan, 0
    assert measure_forgetting(BEFORE, broken).images == 198
    with pytest.raises(ValueError, match="at least 3 images, and 2 have usable vectors"):
        measure_forgetting(BEFORE[:2], BEFORE[:2])
    with pytest.raises(ValueError, match="not of the same images"):
        measure_forgetting(BEFORE, BEFORE[:-1])
