"""A threshold from labelled pairs."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from pipelines.duplicates.calibrate import calibrate, wilson


@pytest.mark.parametrize("seed", range(10))
def test_no_threshold_has_a_higher_f1_and_the_figures_are_sklearns(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.random(60) < 0.4
    cosines = np.round(np.where(labels, 0.9, 0.8) + random.normal(size=60) * 0.05, 2)
    found = calibrate(cosines, labels)
    above = cosines >= found.threshold
    assert f1_score(labels, above) == pytest.approx(max(f1_score(labels, cosines >= each) for each in cosines))
    assert found.precision == pytest.approx(precision_score(labels, above))
    assert found.recall == pytest.approx(recall_score(labels, above))


def test_it_lies_at_the_last_pair_above_it_with_few_digits() -> None:
    labels = np.array([True, True, False, False])
    assert calibrate(np.array([0.99, 0.93127, 0.85, 0.2]), labels).threshold == 0.9312
    assert calibrate(np.array([0.99, 0.931279, 0.931271, 0.2]), labels).threshold == 0.931279
    assert calibrate(np.array([0.9, 0.8]), np.array([True, False])).threshold == pytest.approx(0.9)
    with pytest.raises(ValueError, match="both kinds"):
        calibrate(np.array([0.9, 0.8]), np.array([True, True]))


def test_an_interval_is_wilsons() -> None:
    # Of 8 among 10, by the closed form.
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
