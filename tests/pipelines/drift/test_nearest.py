"""Neighbours across sets of vectors, against scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from pipelines.drift.nearest import agreement, nearest_cosines, nearest_other, unit_vectors

RANDOM = np.random.default_rng(0)
ONE = RANDOM.normal(size=(80, 12)).astype(np.float32)


def test_nearest_is_that_of_scikit_learn() -> None:
    other = RANDOM.normal(size=(50, 12)).astype(np.float32)
    distances, nearest = NearestNeighbors(n_neighbors=3, metric="cosine").fit(ONE).kneighbors(other)
    cosines, found = nearest_cosines(unit_vectors(other), unit_vectors(ONE), 3)
    assert (found == nearest).all()
    assert cosines == pytest.approx(1 - distances, abs=1e-5)


def test_the_nearest_other_is_not_itself_but_may_be_a_copy() -> None:
    vectors = np.concatenate([ONE, ONE[5:6]])
    found = nearest_other(unit_vectors(vectors), np.array([5, 80, 6]))
    assert found[:2] == pytest.approx([1, 1])
    assert found[2] < 0.99


def test_zeros_have_no_direction() -> None:
    assert (unit_vectors(np.zeros((2, 3))) == 0).all()


def test_a_rotation_changes_no_neighbour_and_no_structure() -> None:
    rotation = np.linalg.qr(RANDOM.normal(size=(12, 12)))[0]
    same = agreement(ONE, 3 * ONE @ rotation)
    assert same is not None
    assert (same.images, same.k) == (80, 10)
    assert same.overlap > 0.98
    assert same.cka == pytest.approx(1, abs=1e-4)


def test_unrelated_spaces_agree_by_chance_alone() -> None:
    """Of more dimensions than images a plain CKA would be near 1."""
    unrelated = agreement(
        RANDOM.normal(size=(80, 300)).astype(np.float32), RANDOM.normal(size=(80, 200)).astype(np.float32)
    )
    assert unrelated is not None
    assert unrelated.overlap == pytest.approx(unrelated.by_chance, abs=0.05)
    assert abs(unrelated.cka) < 0.1


def test_overlap_is_the_share_of_common_neighbours() -> None:
    other = ONE + 0.7 * RANDOM.normal(size=ONE.shape).astype(np.float32)
    near = [
        NearestNeighbors(n_neighbors=11, metric="cosine").fit(each).kneighbors(each, return_distance=False)[:, 1:]
        for each in (ONE, other)
    ]
    expected = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)])
    found = agreement(ONE, other)
    assert found is not None
    assert found.overlap == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("images", [0, 1, 3])
def test_too_few_images(images: int) -> None:
    assert agreement(ONE[:images], ONE[:images]) is None
