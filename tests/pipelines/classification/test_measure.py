"""Figures of predictions, against scikit-learn's and by hand."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score
from sklearn.metrics import log_loss as plain_log_loss

from operators.vectors.class_scores import softmax
from pipelines.classification.measure import calibration_error, fit_temperature, log_loss, measure, suspicious

RANDOM = np.random.default_rng(0)
LOGITS = 2 * RANDOM.normal(size=(4000, 5))
LABELS = np.array([RANDOM.choice(5, p=each) for each in softmax(LOGITS)])


@pytest.mark.parametrize("sharpened", [0.25, 1.0, 5.0])
def test_the_temperature_undoes_what_sharpens(sharpened: float) -> None:
    found = fit_temperature(LOGITS * sharpened, LABELS)
    assert found == pytest.approx(sharpened, rel=0.1)
    for temperature in (found / 1.1, found * 1.1):
        assert log_loss(softmax(LOGITS * sharpened / temperature), LABELS) > log_loss(
            softmax(LOGITS * sharpened / found), LABELS
        )
    assert log_loss(softmax(LOGITS), LABELS) == pytest.approx(plain_log_loss(LABELS, softmax(LOGITS)))


def test_the_calibration_error_is_the_gap_by_bin() -> None:
    scores = np.array([0.95, 0.95, 0.95, 0.95, 0.61, 0.62, 1.0])
    right = np.array([True, True, False, False, True, False, True])
    # 1.0 shares the last bin with the four; 0.61 and 0.62 are in one.
    expected = (abs(4 * 0.95 + 1.0 - 3) + abs(1.23 - 1)) / 7
    assert calibration_error(scores, right) == pytest.approx(expected)
    probabilities = softmax(LOGITS)
    good = calibration_error(probabilities.max(1), probabilities.argmax(1) == LABELS)
    sharp = softmax(5 * LOGITS)
    assert good < 0.03 < calibration_error(sharp.max(1), sharp.argmax(1) == LABELS)


def test_confusion_and_recalls_are_scikit_learns_and_lie_within_their_intervals() -> None:
    predicted = LOGITS.argmax(1)
    found = measure(LABELS, predicted, np.arange(4000), 6, seed=0)
    assert (found.confusion[:5, :5] == confusion_matrix(LABELS, predicted)).all()
    expected = recall_score(LABELS, predicted, average=None)
    assert [each.value for each in found.recalls if each] == pytest.approx(expected.tolist())
    assert found.recalls[5] is None
    accuracy = found.accuracy
    error = np.sqrt(accuracy.value * (1 - accuracy.value) / 4000)
    assert accuracy.value == (predicted == LABELS).mean()
    assert accuracy.high - accuracy.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    # Ten rows that are the same say no more than one.
    ten = np.repeat(np.arange(400), 10)
    copies = measure(LABELS[ten], predicted[ten], ten, 5, seed=0)
    assert copies.accuracy.high - copies.accuracy.low > 2.5 * (accuracy.high - accuracy.low)


def test_labels_that_the_neighbours_do_not_share() -> None:
    votes = np.array([[0.9, 0.1], [0.1, 0.9], [0.79, 0.21], [1.0, 0.0], [0.5, 0.5]])
    assert suspicious(np.array([1, 1, 1, 1, 0]), votes, 0.8).tolist() == [3, 0]
