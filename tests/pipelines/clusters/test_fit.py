"""How many clusters there are, by silhouettes."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from operators.base.errors import UserError
from operators.vectors.spherical_kmeans import fit_clusters, nearest_centre
from pipelines.clusters.fit import choose_k


def groups(count: int, rows: int, spread: float) -> np.ndarray:
    random = np.random.default_rng(0)
    centres = np.linalg.qr(random.normal(size=(16, 16)))[0][:count]
    vectors = centres[random.integers(0, count, rows)] + spread * random.normal(size=(rows, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_groups_that_are_apart_are_counted() -> None:
    vectors = groups(6, 900, 0.05)
    k, tried = choose_k(vectors, seed=0)
    assert (k, [each.k for each in tried]) == (6, [2, 3, 4, 6, 8, 11, 16])
    order = np.random.default_rng(0).permutation(len(vectors))
    labels, _ = nearest_centre(vectors[order], fit_clusters(vectors[order], 6, seed=0).centres)
    there = next(each.silhouette for each in tried if each.k == 6)
    assert there == pytest.approx(silhouette_score(vectors[order], labels, metric="cosine"), abs=1e-5)


def test_too_few_vectors_are_said() -> None:
    with pytest.raises(UserError, match=r"79 vectors are too few .* give one with --k"):
        choose_k(groups(2, 79, 0.1), seed=0)
