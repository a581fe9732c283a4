"""What classifiers learn and measure: chance on shuffled labels, and what near-copies across a split would pretend."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from jobs.labelling.learn import Learned, MeasuredAs, learned_neighbours, learned_probe, named_classes
from operators.base.errors import UserError
from operators.vectors.class_scores import LinearClasses
from pipelines.classification.labelled import LabelledRows

HOW = MeasuredAs(label="label", threshold=0.0, neighbours=5, seed=0)
CLASSES = ("a", "b", "c", "d")
LEARNERS = [learned_probe, learned_neighbours]


def rows_of(vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> LabelledRows:
    names = pa.array([f"i{each}" for each in range(len(labels))])
    about = {"groups": groups, "ids": names, "uris": names, "whole": len(labels)}
    return LabelledRows(stored=vectors.astype(np.float16), classes=CLASSES, labels=labels, **about)


def apart(rows: int = 600) -> LabelledRows:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, rows)
    return rows_of(np.eye(8)[labels] + 0.25 * random.normal(size=(rows, 8)), labels, np.arange(rows))


def learned(learn: object, rows: LabelledRows) -> Learned:
    return learn(rows, HOW, lambda text: None)  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize("learn", LEARNERS)
def test_what_is_apart_is_learned_and_shuffled_labels_are_chance(learn: object) -> None:
    rows = apart()
    good = learned(learn, rows).measured
    assert good is not None
    assert good.accuracy > 0.85
    shuffled = replace(rows, labels=np.random.default_rng(1).permutation(rows.labels))
    chance = learned(learn, shuffled).measured
    assert chance is not None
    assert chance.low < 0.25 < chance.high
    assert chance.accuracy < 0.4


@pytest.mark.parametrize("learn", LEARNERS)
def test_near_copies_on_both_sides_of_a_split_would_pretend_what_groups_do_not(learn: object) -> None:
    """Sixty photographs, each ten times almost the same, whose labels mean nothing."""
    random = np.random.default_rng(0)
    source = np.repeat(np.arange(60), 10)
    vectors = random.normal(size=(60, 40))[source] + 0.05 * random.normal(size=(600, 40))
    labels = random.integers(0, 4, 60)[source]
    leaking = learned(learn, rows_of(vectors, labels, np.arange(600))).measured
    grouped = learned(learn, rows_of(vectors, labels, source)).measured
    assert leaking is not None
    assert grouped is not None
    assert leaking.accuracy > 0.95
    assert grouped.accuracy < 0.5
    assert grouped.low < 0.3
    assert grouped.groups < 40


def test_names_are_calibrated_by_labels_and_other_labels_are_left_out() -> None:
    rows = apart()
    weights = np.eye(8, dtype=np.float32)[[1, 0, 2]]
    classes = LinearClasses(weights=weights, bias=np.zeros(3, np.float32), scale=1.0)
    found = named_classes(classes, ("b", "a", "c"), rows, HOW, lambda text: None)
    assert found.measured is not None
    assert found.measured.other_labels == (rows.labels == 3).sum()
    assert found.measured.accuracy > 0.85
    assert found.measured.ece < found.measured.ece_before
    assert [each.name for each in found.measured.classes] == ["b", "a", "c"]
    with pytest.raises(UserError, match="no row's label is one of the classes; it holds a, b, c, d"):
        named_classes(classes, ("x", "y", "z"), rows, HOW, lambda text: None)


def test_wrong_labels_are_listed() -> None:
    rows = apart()
    labels = rows.labels.copy()
    labels[:6] = (labels[:6] + 1) % 4
    found = learned(learned_neighbours, replace(rows, labels=labels)).measured
    assert found is not None
    listed = {each.id: (each.label, each.neighbours_say) for each in found.suspicious}
    for row in range(6):
        assert listed[f"i{row}"] == (CLASSES[labels[row]], CLASSES[rows.labels[row]])
    assert len(listed) < 40


@pytest.mark.parametrize("learn", LEARNERS)
def test_too_little_to_learn_from_is_said(learn: object) -> None:
    rows = apart(40)
    with pytest.raises(UserError, match="takes two classes and four groups at least"):
        learned(learn, replace(rows, groups=np.zeros(40, np.int64)))
