"""Average precision from counts, against scikit-learn over whole rankings; the label of most."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score

from operators.base.errors import UserError
from pipelines.evaluation.labels import STEPS, AveragePrecision, check_label, majority


def average(scores: np.ndarray, same: np.ndarray, parts: int) -> float:
    precision = AveragePrecision(2)
    for piece in np.array_split(np.arange(len(scores)), parts):
        precision.add(1, scores[piece], same[piece])
    values = precision.values()
    assert np.isnan(values[0])
    return float(values[1])


@pytest.mark.parametrize("parts", [1, 7])
def test_tied_scores_are_averaged_as_scikit_learn_does(parts: int) -> None:
    rng = np.random.default_rng(0)
    same = rng.random(1000) < 0.2
    scores = np.rint(40 * (rng.normal(size=1000) * 0.2 + 0.3 * same)) / 100
    assert len(np.unique(scores)) < 100
    assert average(scores, same, parts) == pytest.approx(average_precision_score(same, scores), abs=1e-12)


def test_scores_of_any_value_are_off_by_no_more_than_their_steps() -> None:
    rng = np.random.default_rng(1)
    same = rng.random(20_000) < 0.1
    scores = np.clip(rng.normal(size=20_000) * 0.1 + 0.2 * same, -1, 1)
    assert len(np.unique(np.rint(scores * STEPS))) < 15_000
    assert average(scores, same, 3) == pytest.approx(average_precision_score(same, scores), abs=1e-3)


def test_the_ends_of_the_range_and_what_rounding_puts_beyond_them() -> None:
    scores, same = np.array([1.0000001, 1.0, -1.0000001]), np.array([True, False, True])
    assert average(scores, same, 1) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_of_labels_as_frequent_the_nearest_counts() -> None:
    assert majority(["a", "b", "b", "a"]) == "a"
    assert majority(["a", "b", "b"]) == "b"
    assert majority([None, 3, 3]) == 3


def test_a_name_that_lance_cannot_take_is_refused_with_a_sentence() -> None:
    with pytest.raises(UserError, match="backtick"):
        check_label("t", pa.schema([("a`b", pa.string())]), "a`b")
