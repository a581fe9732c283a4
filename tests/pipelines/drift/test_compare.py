"""Two samples compared by every measure: no more false alarms than allowed, and what is made different is found."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from made.vectors import clustered
from pipelines.drift.clusters import cluster_centres, nearest_centres
from pipelines.drift.compare import Compared, Samples, compare_samples, principal_points

DIM = 16


def compared(first: np.ndarray, second: np.ndarray, fitted: np.ndarray, seed: int = 0, rounds: int = 99) -> Compared:
    samples = Samples(
        vectors=np.concatenate([first, second]),
        second=np.repeat([False, True], [len(first), len(second)]),
        images=np.arange(len(first) + len(second)),
    )
    return compare_samples(samples, cluster_centres(fitted, seed=seed), rounds=rounds, seed=seed)


def parts(seed: int, *sizes: int) -> list[np.ndarray]:
    return np.split(clustered(sum(sizes), DIM, seed), np.cumsum(sizes)[:-1])


def least_p(found: Compared) -> float:
    return min(each.p for each in found.measures.values())


def test_alike_samples_raise_a_false_alarm_in_at_most_one_of_twenty() -> None:
    """Over 100 seeds, of all measures together."""
    alarms = [least_p(compared(*parts(seed, 60, 40, 40), seed=seed, rounds=39)) <= 0.05 for seed in range(100)]
    assert sum(alarms) <= 5


def test_a_tenth_of_another_class_is_found() -> None:
    for seed in range(5):
        first, second, fitted = parts(seed, 400, 400, 200)
        random = np.random.default_rng(seed)
        another = np.random.default_rng(7).normal(size=DIM) + 0.3 * random.normal(size=(40, DIM))
        second[:40] = another / np.linalg.norm(another, axis=1, keepdims=True)
        found = compared(first, second, fitted, seed)
        assert found.measures["frechet"].p <= 0.02
        assert found.measures["frechet"].value > found.measures["frechet"].by_chance + 0.005


def test_each_measure_finds_what_it_is_for() -> None:
    first, second, fitted = parts(0, 300, 300, 150)
    shifted = compared(first, second + np.float32(0.1), fitted).measures
    assert shifted["mean"].p == shifted["auc"].p == 0.01
    assert shifted["auc"].value > 0.7
    longer = compared(first, second * np.float32(1.2), fitted).measures
    assert longer["norms"].value == 1
    assert longer["norms"].p == 0.01
    clusters, _ = nearest_centres(second, cluster_centres(fitted, seed=0))
    one_cluster = second[clusters == np.bincount(clusters).argmax()]
    moved = compared(first, one_cluster, fitted)
    assert moved.measures["clusters"].p == 0.01
    assert moved.masses[1].max() == 1
    assert moved.masses.sum(axis=1) == pytest.approx([1, 1])


def test_directions_are_principal_components() -> None:
    vectors = clustered(300, DIM)
    points, variance = principal_points(vectors, 4)
    fitted = PCA(4, svd_solver="full").fit(vectors)
    assert np.abs(points) == pytest.approx(np.abs(fitted.transform(vectors)), abs=1e-5)
    assert variance == pytest.approx(vectors.var(axis=0, ddof=1).sum(), rel=1e-5)


def test_directions_of_few_rows_and_of_none() -> None:
    few = clustered(12, DIM)
    points, variance = principal_points(few)
    assert points.shape == (12, 2)
    assert variance == pytest.approx(few.var(axis=0, ddof=1).sum(), rel=1e-5)
    assert principal_points(np.ones((30, DIM), np.float32)).points.shape == (30, 0)


def test_vectors_that_are_all_alike() -> None:
    found = compared(*(np.ones((30, DIM), np.float32) for _ in range(3)))
    assert least_p(found) == 1
    assert found.auc.low <= 0.5 <= found.auc.high
