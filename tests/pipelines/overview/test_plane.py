"""Vectors on a plane, and their nearest among themselves."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.overview.plane import nearest_each, on_plane


def unit(vectors: np.ndarray) -> np.ndarray:
    made: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def clusters() -> tuple[np.ndarray, np.ndarray]:
    """60 vectors about three directions, and which one each is about."""
    rng = np.random.default_rng(5)
    about = np.arange(60) % 3
    return unit(rng.normal(size=(3, 16))[about] + rng.normal(size=(60, 16)) * 0.1), about


def test_what_is_alike_lies_together_also_what_is_placed_later_and_each_time_at_the_same_place(
    clusters: tuple[np.ndarray, np.ndarray],
) -> None:
    vectors, about = clusters
    once, again = (on_plane(vectors, fitted=40, neighbours=8, seed=3) for _ in range(2))
    assert once.shape == (60, 2)
    assert np.array_equal(once, again)
    distances = np.linalg.norm(once[:, None] - once[None], axis=2) + np.diag(np.full(60, np.inf))
    assert (about[distances.argmin(1)] == about).all()


def test_what_umap_compiles_is_kept_for_the_next_process(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    from umap import umap_

    on_plane(clusters[0], fitted=40, neighbours=8, seed=3)
    for function in (umap_.fast_knn_indices, umap_.smooth_knn_dist):
        path = Path(function.stats.cache_path)
        assert list(path.glob(f"*.{function.py_func.__name__}-*.nbc")), function


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_vectors_than_it_takes_have_a_place_each(count: int) -> None:
    plane = on_plane(np.eye(4, dtype=np.float32)[:count], fitted=10, neighbours=5, seed=0)
    assert len({tuple(point) for point in plane.tolist()}) == count


def test_the_nearest_are_those_of_numpy(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, _ = clusters
    cosines = vectors @ vectors.T - 2 * np.eye(60, dtype=np.float32)
    near = nearest_each(vectors, 5)
    assert np.array_equal(near.places, np.argsort(-cosines, axis=1, kind="stable")[:, :5])
    assert np.allclose(near.cosines, -np.sort(-cosines, axis=1)[:, :5], atol=1e-6)


def test_an_image_is_never_its_own_neighbour_among_its_copies() -> None:
    copies = unit(np.repeat(np.random.default_rng(1).normal(size=(2, 8)), 6, axis=0))
    near = nearest_each(copies, 3)
    assert near.places.shape == (12, 3)
    assert not (near.places == np.arange(12)[:, None]).any()
    assert (near.places // 6 == np.arange(12)[:, None] // 6).all()


def test_one_vector_has_no_neighbour() -> None:
    assert nearest_each(np.ones((1, 4), np.float32), 5).places.shape == (1, 0)
