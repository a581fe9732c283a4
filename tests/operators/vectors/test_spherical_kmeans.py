"""Spherical k-means against faiss alone and plain NumPy."""

import faiss
import numpy as np
import pytest

from operators.base.errors import UserError
from operators.vectors.spherical_kmeans import fit_clusters, nearest_centre


def units(rows: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS, CENTRES = units(3000, 24, 0), units(40, 24, 1)


def test_the_nearest_centre_and_its_cosine_are_numpys() -> None:
    lengths = np.random.default_rng(2).uniform(0.1, 30, (len(VECTORS), 1)).astype(np.float32)
    nearest, cosines = nearest_centre(VECTORS * lengths, CENTRES)
    expected = VECTORS.astype(np.float64) @ CENTRES.T.astype(np.float64)
    assert (nearest == expected.argmax(1)).all()
    assert np.abs(cosines - expected.max(1)).max() < 1e-6


def test_a_row_gets_the_same_whatever_it_is_compared_beside() -> None:
    """Also where two centres are the same, and the last bits of products would decide."""
    centres = np.concatenate([CENTRES, CENTRES])
    whole = nearest_centre(VECTORS, centres)
    assert (whole[0] < len(CENTRES)).all(), "the first of equal ones"
    parts = [nearest_centre(VECTORS[start : start + 7], centres) for start in range(0, 700, 7)]
    for each, of_parts in zip(whole, map(np.concatenate, zip(*parts, strict=True)), strict=True):
        assert each[:700].tobytes() == of_parts.tobytes()


def test_one_centre_and_a_vector_of_zeros() -> None:
    nearest, cosines = nearest_centre(np.array([[0, 0], [3, 4]], np.float32), np.array([[0, 1]], np.float32))
    assert nearest.tolist() == [0, 0]
    assert np.isnan(cosines[0])
    assert cosines[1] == pytest.approx(0.8)


def test_vectors_whose_squares_float32_does_not_hold() -> None:
    lengths = np.float32([1e-42, 1e-38, 1e-25, 1e-12, 1e-3, 1, 1e12, 1e25, 1e38])
    vectors = (VECTORS[: len(lengths)].astype(np.float64) * lengths[:, None]).astype(np.float32)
    centres = np.concatenate([CENTRES, CENTRES[::-1]])
    nearest, cosines = nearest_centre(vectors, centres)
    wide = vectors.astype(np.float64)
    expected = wide @ CENTRES.T.astype(np.float64) / np.linalg.norm(wide, axis=1, keepdims=True)
    assert (nearest == expected.argmax(1)).all(), "the first of equal centres"
    np.testing.assert_allclose(cosines, expected.max(1), rtol=1e-6)
    same = nearest_centre(VECTORS, centres)
    for power in (-100, 120):
        scaled = nearest_centre(np.ldexp(VECTORS, power), centres)
        assert [each.tobytes() for each in scaled] == [each.tobytes() for each in same]


def test_the_fit_is_faiss_own_and_its_objective_numpys() -> None:
    fitted = fit_clusters(VECTORS, 12, seed=5)
    alone = faiss.Kmeans(24, 12, niter=20, seed=5, spherical=True, max_points_per_centroid=len(VECTORS))
    alone.train(VECTORS)
    np.testing.assert_allclose(fitted.centres, alone.centroids, atol=1e-6)
    assert fitted.mean_cosine == pytest.approx(float((VECTORS @ alone.centroids.T).max(1).mean()), abs=1e-6)
    # faiss adds up the objective of the step before the last move of the centres.
    assert fitted.mean_cosine * len(VECTORS) >= alone.obj[-1] - 1e-2
    assert fit_clusters(VECTORS, 12, seed=5).centres.tobytes() == fitted.centres.tobytes()


def test_centres_are_the_directions_of_the_means_of_their_vectors() -> None:
    group = np.repeat(np.arange(4), 50)
    vectors = np.eye(24, dtype=np.float32)[group] + 0.05 * units(200, 24, 3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fitted = fit_clusters(vectors, 4, seed=1)
    nearest, _ = nearest_centre(vectors, fitted.centres)
    means = np.stack([vectors[nearest == each].mean(0) for each in range(4)])
    np.testing.assert_allclose(fitted.centres, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)


def test_more_clusters_than_vectors_are_refused() -> None:
    with pytest.raises(UserError, match="5 clusters of 4 vectors"):
        fit_clusters(VECTORS[:4], 5, seed=0)
