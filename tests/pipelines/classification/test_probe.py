"""The probe is scikit-learn's, of two classes and of more."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from operators.vectors.class_scores import softmax
from pipelines.classification.measure import log_loss
from pipelines.classification.probe import STRENGTHS, fit_probe

RANDOM = np.random.default_rng(0)
UNITS = RANDOM.normal(size=(300, 5)).astype(np.float32)
UNITS /= np.linalg.norm(UNITS, axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_scikit_learns_of_the_strength_that_does_best_on_the_other_rows(classes: int) -> None:
    noisy = UNITS[:, :classes] + 0.2 * RANDOM.normal(size=(300, classes))
    labels = noisy.argmax(1)
    train, choose = (UNITS[:200], labels[:200]), (UNITS[200:], labels[200:])
    fitted = fit_probe(train, choose, classes)
    plain = {each: LogisticRegression(C=each, max_iter=1000).fit(*train) for each in STRENGTHS}
    losses = {each: log_loss(model.predict_proba(choose[0]), choose[1]) for each, model in plain.items()}
    assert fitted.strength == min(losses, key=losses.__getitem__)
    ours = softmax(fitted.classes.logits(UNITS))
    np.testing.assert_allclose(ours, plain[fitted.strength].predict_proba(UNITS), atol=1e-5)
    assert fitted.converged


def test_a_class_that_was_not_trained_gets_nothing() -> None:
    labels = np.where(UNITS[:, 0] > 0, 0, 2)
    fitted = fit_probe((UNITS, labels), (UNITS, labels), 3)
    assert softmax(fitted.classes.logits(UNITS))[:, 1].max() == 0
