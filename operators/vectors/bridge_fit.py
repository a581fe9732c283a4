"""Linear maps from one model's vectors to another's, from exact sums over both: the same bytes for the same rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from operators.base.errors import UserError
from operators.vectors.exact_sums import ExactSums

PENALTIES = (1e-6, 1e-4, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties to try, times the mean variance of the new vectors."""


@dataclass(frozen=True, kw_only=True)
class FittedBridge:
    """`(new - mean_new) @ weights + mean_old`, in float64."""

    kind: Literal["ridge", "orthogonal"]
    penalty: float
    mean_new: np.ndarray
    weights: np.ndarray
    """(new dim, old dim)."""
    mean_old: np.ndarray

    def tensors(self) -> dict[str, np.ndarray]:
        return {"mean_new": self.mean_new, "weights": self.weights, "mean_old": self.mean_old}


def fit_bridges(sums: ExactSums, new_dim: int) -> Iterator[FittedBridge]:
    """The maps that are worth trying, from sums over vectors whose first `new_dim` numbers are the new model's and the
    others the old one's.

    `orthogonal` keeps lengths and angles: the rotation that brings the centred new vectors nearest to the old ones
    (Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem"). `ridge` is least squares with a
    penalty on large weights. Raises `UserError` for fewer than two rows.
    """
    if sums.rows < 2:
        raise UserError(f"{sums.rows} rows with both vectors to fit a bridge on; thousands are needed to mean anything")
    covariance, mean = sums.covariance(), sums.mean()
    within, across = covariance[:new_dim, :new_dim], covariance[:new_dim, new_dim:]
    means = {"mean_new": mean[:new_dim], "mean_old": mean[new_dim:]}
    left, _, right = np.linalg.svd(across, full_matrices=False)
    yield FittedBridge(kind="orthogonal", penalty=0.0, weights=left @ right, **means)
    variance = float(np.trace(within)) / new_dim
    for penalty in PENALTIES:
        # Without any variance there is nothing to map: the penalty alone must not be zero.
        ridge = within + (penalty * variance or 1.0) * np.eye(new_dim)
        yield FittedBridge(kind="ridge", penalty=penalty, weights=np.linalg.solve(ridge, across), **means)
