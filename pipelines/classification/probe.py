"""A linear probe: multinomial logistic regression on unit vectors, by scikit-learn.

Alain, Bengio 2016, "Understanding intermediate layers using linear classifier probes"; as in Radford et al. 2021
("Learning Transferable Visual Models From Natural Language Supervision", A.3) the strength of its regularisation is
chosen by rows that it is not trained on.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from operators.vectors.class_scores import LinearClasses, softmax
from pipelines.classification.measure import log_loss

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""scikit-learn's `C`: the larger, the less regularised. Of vectors of unit length 1 is a strong regularisation."""
MOST_ITERATIONS = 1000


@dataclass(frozen=True, kw_only=True)
class FittedProbe:
    """The probe, at temperature 1."""

    classes: LinearClasses
    strength: float
    converged: bool


def fit_probe(
    train: tuple[np.ndarray, np.ndarray],
    choose: tuple[np.ndarray, np.ndarray],
    classes: int,
    *,
    on_strength: Callable[[float], None] = lambda strength: None,
) -> FittedProbe:
    """Trained on unit vectors (N, D) and their classes (N,) for each strength; the one with the least log loss on the
    rows of `choose` is taken. Classes that no training row has get no probability."""
    found = []
    for strength in STRENGTHS:
        on_strength(strength)
        probe = _fit(*train, classes, strength)
        found.append((log_loss(softmax(probe.classes.logits(choose[0])), choose[1]), probe))
    return min(found, key=lambda each: each[0])[1]


def _fit(units: np.ndarray, labels: np.ndarray, classes: int, strength: float) -> FittedProbe:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        probe = LogisticRegression(C=strength, max_iter=MOST_ITERATIONS).fit(units, labels)
    rows, bias = probe.coef_, probe.intercept_
    if len(probe.classes_) == 2:
        # Of two classes scikit-learn keeps the second one's logit alone; the first one's is 0.
        rows, bias = np.concatenate([0 * rows, rows]), np.append(0 * bias, bias)
    weights, biases = np.zeros((classes, units.shape[1]), np.float32), np.full(classes, -1e4, np.float32)
    weights[probe.classes_], biases[probe.classes_] = rows, bias
    return FittedProbe(
        classes=LinearClasses(weights=weights, bias=biases, scale=1.0),
        strength=strength,
        converged=not any(issubclass(each.category, ConvergenceWarning) for each in caught),
    )
