"""The votes of labelled neighbours are scikit-learn's; nobody votes on itself."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from pipelines.classification.knn import LabelledNeighbours, same_vectors, vote_logits

RANDOM = np.random.default_rng(0)
UNITS = RANDOM.normal(size=(400, 6)).astype(np.float32) + 0.5
UNITS /= np.linalg.norm(UNITS, axis=1, keepdims=True)
LABELS = UNITS[:, :4].argmax(1)
ASKED, NOBODY = UNITS[300:], np.full(100, -1)


def voting(rows: slice, k: int = 7, keys: np.ndarray | None = None) -> LabelledNeighbours:
    keys = np.arange(400)[rows] if keys is None else keys
    return LabelledNeighbours(units=UNITS[rows], labels=LABELS[rows], keys=keys, classes=4, k=k)


def scikit_learns(rows: np.ndarray, labels: np.ndarray, asked: np.ndarray, k: int = 7) -> np.ndarray:
    model = KNeighborsClassifier(k, metric="cosine", weights=lambda far: np.maximum(1 - far, 0)).fit(rows, labels)
    found: np.ndarray = model.predict_proba(asked)
    return found


def test_votes_are_scikit_learns() -> None:
    ours = voting(slice(0, 300)).votes(ASKED, NOBODY)
    np.testing.assert_allclose(ours, scikit_learns(UNITS[:300], LABELS[:300], ASKED), atol=1e-5)


def test_each_row_is_left_out_of_its_own_votes() -> None:
    ours = voting(slice(0, 60)).votes(UNITS[:60], np.arange(60))
    for row in range(60):
        others = np.arange(60) != row
        expected = scikit_learns(UNITS[:60][others], LABELS[:60][others], UNITS[row : row + 1])
        np.testing.assert_allclose(ours[row], expected[0], atol=1e-5)


def test_a_group_has_no_vote_on_its_own_rows() -> None:
    groups = np.arange(300) // 30
    ours = voting(slice(0, 300), keys=groups).votes(UNITS[:1], np.array([0]))
    expected = scikit_learns(UNITS[30:300], LABELS[30:300], UNITS[:1])
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_where_nobody_is_left_nobody_votes() -> None:
    assert not voting(slice(0, 3), keys=np.zeros(3, int)).votes(UNITS[:1], np.array([0])).any()


def test_the_same_vectors_have_the_same_key() -> None:
    ours, others = same_vectors(np.array([[1, 2], [3, 4]], "f4"), np.array([[3, 4], [5, 6], [3, 4]], "f2"))
    assert ours[1] == others[0] == others[2]
    assert len({*ours, *others}) == 3


def test_a_class_without_votes_is_not_impossible() -> None:
    shares = np.exp(vote_logits(np.array([[1.0, 0.0]]), 9))
    assert shares[0].tolist() == pytest.approx([0.95, 0.05])
