"""recall and nDCG of one query, nDCG against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from pipelines.gate.ranking import ndcg_at, recall_at


def test_ndcg_is_what_scikit_learn_gives() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        images = [f"i{at}" for at in range(40)]
        scores = random.permutation(40).astype(float)
        right = [image for image in images if random.random() < 0.2] or ["i0"]
        ranked = [images[at] for at in np.argsort(-scores)]
        relevance = np.array([[float(image in right) for image in images]])
        assert ndcg_at(ranked, right) == pytest.approx(ndcg_score(relevance, scores[None], k=10), abs=1e-12)


def test_recall_counts_right_images_among_the_first_ten() -> None:
    found = [f"i{at}" for at in range(20)]
    assert recall_at(found, ["i0", "i9", "i10", "elsewhere"]) == 0.5
    assert recall_at(found, [f"i{at}" for at in range(15)]) == 1
    assert recall_at([], ["i0"]) == ndcg_at([], ["i0"]) == 0


def test_a_right_id_that_is_given_twice_counts_once() -> None:
    assert recall_at(["a"], ["a", "a"]) == ndcg_at(["a"], ["a", "a"]) == 1
