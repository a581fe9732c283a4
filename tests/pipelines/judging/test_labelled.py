"""Figures by labels equal scikit-learn's on the same vectors; shuffled labels give chance; groups keep leaks out."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from pipelines.judging.labelled import FOLDS, PROBE_C, cosines_of, groups_of, label_scores, probe_right

CLASSES, EACH = 5, 60
RANDOM = np.random.default_rng(3)
LABELS = np.repeat(np.arange(CLASSES), EACH)
CENTRES = RANDOM.normal(size=(CLASSES, 24))
VECTORS = (CENTRES[LABELS] + 2.2 * RANDOM.normal(size=(len(LABELS), 24))).astype(np.float32)
ALONE = np.arange(len(LABELS))
SOME = ALONE[::7]


def cosines() -> np.ndarray:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.fixture(scope="module")
def scores() -> object:
    return label_scores(cosines_of(VECTORS), LABELS, ALONE)


def test_the_nearest_neighbour_is_scikit_learns(scores: object) -> None:
    found = []
    for at in SOME:
        others = np.delete(ALONE, at)
        knn = KNeighborsClassifier(1, metric="cosine", algorithm="brute").fit(VECTORS[others], LABELS[others])
        found.append(knn.predict(VECTORS[at][None])[0] == LABELS[at])
    assert scores.right[1][SOME].tolist() == found  # type: ignore[attr-defined]
    assert 0.3 < np.mean(found) < 0.95


def test_most_of_ten_is_scikit_learns_where_most_is_one_label(scores: object) -> None:
    order = np.argsort(-cosines() + 9 * np.eye(len(LABELS)), axis=1)[:, :10]
    counts = np.stack([np.bincount(LABELS[near], minlength=CLASSES) for near in order])
    clear = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) == 1
    assert clear.mean() > 0.5
    assert scores.right[10][clear].tolist() == (counts.argmax(axis=1) == LABELS)[clear].tolist()  # type: ignore[attr-defined]


def test_of_labels_with_as_many_neighbours_the_nearests_counts() -> None:
    similarity = np.array([[1, 0.9, 0.8, 0.7, 0.6]] + [[0] * 5] * 4, np.float32)
    right = label_scores(lambda part: similarity[part], np.array([7, 7, 8, 8, 7]), np.arange(5), (4,)).right[4]
    assert right[0] == 1


def test_average_precision_is_scikit_learns_with_ties_too(scores: object) -> None:
    def theirs(similarity: np.ndarray) -> list[float]:
        return [
            average_precision_score(np.delete(LABELS[at] == LABELS, at), np.delete(similarity[at], at)) for at in SOME
        ]

    np.testing.assert_allclose(scores.average_precision[SOME], theirs(cosines()), atol=1e-6)  # type: ignore[attr-defined]
    coarse = np.round(cosines(), 1)
    ours = label_scores(lambda part: coarse[part], LABELS, ALONE).average_precision
    np.testing.assert_allclose(ours[SOME], theirs(coarse), atol=1e-9)


def test_an_image_whose_label_nobody_else_has_is_left_out() -> None:
    found = label_scores(cosines_of(VECTORS[:4]), np.array([0, 0, 0, 9]), np.arange(4))
    assert np.isnan(found.average_precision).tolist() == [False, False, False, True]


def test_the_probe_is_scikit_learns_on_the_same_folds() -> None:
    right = np.zeros(len(LABELS))
    for seen, held_out in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(VECTORS, LABELS, ALONE):
        scaler = StandardScaler().fit(VECTORS[seen])
        probe = LogisticRegression(C=PROBE_C, max_iter=1000).fit(scaler.transform(VECTORS[seen]), LABELS[seen])
        right[held_out] = probe.predict(scaler.transform(VECTORS[held_out])) == LABELS[held_out]
    assert abs(probe_right(VECTORS, LABELS, ALONE).mean() - right.mean()) <= 0.005
    assert right.mean() > 0.6


def test_with_fewer_images_than_dimensions_the_probe_is_the_same() -> None:
    wide = np.concatenate([VECTORS, RANDOM.normal(size=(len(VECTORS), 400)).astype(np.float32)], axis=1)
    right = np.zeros(len(LABELS))
    for seen, held_out in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(wide, LABELS, ALONE):
        scaler = StandardScaler().fit(wide[seen])
        probe = LogisticRegression(C=PROBE_C, max_iter=1000).fit(scaler.transform(wide[seen]), LABELS[seen])
        right[held_out] = probe.predict(scaler.transform(wide[held_out])) == LABELS[held_out]
    assert abs(probe_right(wide, LABELS, ALONE).mean() - right.mean()) <= 0.01


def test_shuffled_labels_give_chance() -> None:
    shuffled = np.random.default_rng(1).permutation(LABELS)
    scores = label_scores(cosines_of(VECTORS), shuffled, ALONE)
    for values in (scores.right[1], scores.right[10], probe_right(VECTORS, shuffled, ALONE)):
        # A fifth, and four times the spread of a mean of 300.
        assert abs(values.mean() - 0.2) < 4 * (0.2 * 0.8 / 300) ** 0.5
    assert abs(scores.average_precision.mean() - 0.2) < 0.04


def test_duplicates_across_the_split_leak_unless_they_are_grouped() -> None:
    twice = np.concatenate([VECTORS[:150], VECTORS[:150] + 1e-4]).astype(np.float32)
    labels = np.tile(np.random.default_rng(2).integers(0, 5, 150), 2)
    pairs = np.tile(np.arange(150), 2)
    alone = np.arange(300)
    leaking = label_scores(cosines_of(twice), labels, alone).right[1].mean()
    assert leaking == 1
    assert abs(label_scores(cosines_of(twice), labels, pairs).right[1].mean() - 0.2) < 0.13
    wide = np.concatenate([twice, np.tile(RANDOM.normal(size=(150, 300)), (2, 1))], axis=1).astype(np.float32)
    assert probe_right(wide, labels, alone).mean() > 0.75
    assert probe_right(wide, labels, pairs).mean() < 0.35


def test_images_are_of_one_group_by_any_key_and_through_others() -> None:
    groups = groups_of(["a", "b", "b", "c", None, None], [1, 1, 2, 3, None, 3])
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[5]
    assert len({groups[0], groups[3], groups[4]}) == 3
