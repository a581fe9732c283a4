"""What is measured of a model, in closed form, and what is said of it."""

import numpy as np
import pytest

from pipelines.judging.intervals import MeanInterval
from pipelines.tuning.judged import MeasuredGain, gains, label_values, text_values, verdict, zero_shot_values

RIGHT = np.array([[1, 0], [0.99, 0.1], [0, 1], [0.1, 0.99]], np.float32)
"""Two pairs of neighbours."""
LABELS = np.array([0, 0, 1, 1])
ALONE = np.arange(4)


def test_neighbours_of_the_same_label_are_right() -> None:
    found = label_values(RIGHT, LABELS, ALONE)
    assert found["right"].tolist() == [1, 1, 1, 1]
    assert found["precision"].tolist() == [1, 1, 1, 1]
    wrong = label_values(RIGHT, np.array([0, 1, 1, 0]), ALONE)
    assert wrong["right"].tolist() == [0, 0, 0, 0]
    assert wrong["found"].tolist() == [1, 1, 1, 1]


def test_recall_looks_at_ten_and_an_image_of_ones_own_is_no_answer() -> None:
    angles = np.linspace(0, 1.4, 15)
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    labels = np.array([0, *([1] * 13), 0])
    found = label_values(vectors, labels, np.arange(15))
    assert found["found"][0] == found["found"][14] == 0
    assert found["found"][5] == 1
    own = label_values(RIGHT, LABELS, np.array([0, 0, 1, 2]))
    assert np.isnan(own["found"][:2]).all()
    assert own["found"][2:].tolist() == [1, 1]


def test_texts_find_their_images() -> None:
    found = text_values(RIGHT, RIGHT[[0, 0, 2, 2]])
    assert found["text_first"].tolist() == [1, 0, 1, 0]
    assert found["text_found"].tolist() == [1, 1, 1, 1]
    assert text_values(RIGHT, np.zeros((4, 2), np.float32))["text_found"].tolist() == [0, 0, 0, 0]


def test_class_names_tell_labels() -> None:
    prompts = np.array([[[2, 0], [1, 0.1]], [[0, 3], [0.1, 1]]], np.float32)
    assert zero_shot_values(RIGHT, prompts, LABELS)["zero_shot"].tolist() == [1, 1, 1, 1]
    assert zero_shot_values(RIGHT, prompts, 1 - LABELS)["zero_shot"].tolist() == [0, 0, 0, 0]


def test_a_gain_is_of_the_images_that_both_judge() -> None:
    before = {"right": np.array([0.0, 0, np.nan, 1]), "only": np.zeros(4)}
    [found] = gains(before, {"right": np.array([1.0, 0, 1, 1])}, ALONE)
    assert found.gain.images == 3
    assert found.gain.mean == pytest.approx(1 / 3)
    assert (found.before.mean, found.after.mean) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        ((0.031, 0.01, 0.052), "1-NN rises by 3.1 points [1.0, 5.2]"),
        ((0.002, -0.01, 0.02), "nothing gained that is sure (1-NN by +0.2 points [-1.0, 2.0]): keep the base"),
        ((0.0, 0.0, 0.0), "nothing gained: keep the base"),
        ((-0.04, -0.06, -0.02), "1-NN falls by 4.0 points [-6.0, -2.0]: keep the base"),
    ],
)
def test_the_verdict_is_one_sentence(gain: tuple[float, float, float], said: str) -> None:
    one = MeanInterval(mean=0.5, low=0.4, high=0.6, images=9)
    other = MeanInterval(mean=gain[0], low=gain[1], high=gain[2], images=9)
    assert verdict([MeasuredGain(measure="right", before=one, after=one, gain=other)], "labels") == said
    assert "nothing is known" in verdict([], "labels")
