"""Probabilities of classes from vectors by linear functions: class vectors of words, or a probe."""

from dataclasses import dataclass

import numpy as np

_BLOCK = 4096
"""Vectors that are in float64 at once."""


@dataclass(frozen=True, kw_only=True)
class LinearClasses:
    """The logits of a unit vector `v` are `scale * (weights @ v + bias)`; probabilities are their softmax."""

    weights: np.ndarray
    """(C, D) float32: one row a class."""
    bias: np.ndarray
    """(C,) float32."""
    scale: float
    """1 over the temperature."""

    def logits(self, vectors_ND: np.ndarray) -> np.ndarray:
        """(N, C) float64 from (N, D) float32 of any length; NaN for a vector of zeros.

        In float64, as a PCA is: a row gets the same scores whatever it is computed beside.
        """
        weights = self.weights.T.astype(np.float64)
        logits = np.empty((len(vectors_ND), weights.shape[1]))
        for start in range(0, len(vectors_ND), _BLOCK):
            vectors = vectors_ND[start : start + _BLOCK].astype(np.float64)
            norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
            with np.errstate(invalid="ignore"):
                cosines = vectors @ weights / norms[:, None]
            logits[start : start + _BLOCK] = self.scale * (cosines + self.bias)
        return logits

    def probabilities(self, vectors_ND: np.ndarray) -> np.ndarray:
        """(N, C) float64."""
        return softmax(self.logits(vectors_ND))


def softmax(logits_NC: np.ndarray) -> np.ndarray:
    """(N, C) float64 rows that sum to 1."""
    powers = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(1, keepdims=True)
    return probabilities


def best_class(scores_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(the class with the largest score (N,) int64, that score (N,) float32, how far the next one is below it (N,)
    float32). With one class alone the margin is its score."""
    best = scores_NC.argmax(1)
    top = scores_NC[np.arange(len(scores_NC)), best]
    rest = scores_NC.copy()
    rest[np.arange(len(rest)), best] = 0 if scores_NC.shape[1] == 1 else -np.inf
    return best, top.astype(np.float32), (top - rest.max(1)).astype(np.float32)
