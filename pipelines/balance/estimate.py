"""From a trial to the whole job: each figure with its range. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.balance.trial import TrialRun

LEVEL = 0.95
LEAST_SPREAD = 0.1
"""What differs between a trial and a run besides chance: caches, other load, the beginning and the end."""


@dataclass(frozen=True, kw_only=True)
class Ranged:
    """An estimate and the ends of its range."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Ranged":
        return Ranged(value=self.value * factor, low=self.low * factor, high=self.high * factor)

    def plus(self, certain: float) -> "Ranged":
        return Ranged(value=self.value + certain, low=self.low + certain, high=self.high + certain)


@dataclass(frozen=True, kw_only=True)
class PerRow:
    """What one row takes."""

    seconds: Ranged
    """By the clock, with all cores at work."""
    core_s: Ranged | None
    size_bytes: Ranged
    written_bytes: Ranged
    requests: Ranged
    failed: Ranged
    """Share of the rows."""


def per_row(trial: TrialRun) -> PerRow:
    """Raises `ValueError` for a trial without rows."""
    rows = [part.rows for part in trial.parts]
    if not sum(rows):
        raise ValueError("no row was tried")
    # All of a trial, its beginning and its end: a run has them as well.
    work = ranged([part.operator_s for part in trial.parts], rows, LEAST_SPREAD)
    factor = work.high / work.value if work.value else float(np.exp(LEAST_SPREAD))
    cores = [part.core_s for part in trial.parts if part.core_s is not None]
    return PerRow(
        seconds=_spread(sum(part.seconds for part in trial.parts) / sum(rows), factor),
        core_s=_spread(sum(cores) / sum(rows), factor) if len(cores) == len(rows) else None,
        size_bytes=ranged([part.size_bytes for part in trial.parts], rows),
        written_bytes=ranged([part.written_bytes for part in trial.parts], rows),
        requests=ranged([part.requests for part in trial.parts], rows),
        failed=ranged([part.failed for part in trial.parts], rows),
    )


def _spread(value: float, factor: float) -> Ranged:
    return Ranged(value=value, low=value / factor, high=value * factor)


def ranged(amounts: Sequence[float], rows: Sequence[int], least: float = 0.0) -> Ranged:
    """The amount a row, as a ratio of sums, with the 95 % interval of a ratio estimate from parts (Cochran 1977,
    "Sampling Techniques", 6.4) by Student's t; at least `least` of it to either side."""
    from scipy.stats import t

    taken, counts = np.array(amounts, float), np.array(rows, float)
    value = taken.sum() / counts.sum()
    half = value * least
    if len(taken) > 1:
        residuals = taken - value * counts
        error = np.sqrt((residuals**2).sum() / (len(taken) - 1) / len(taken)) / counts.mean()
        half = max(half, float(t.ppf((1 + LEVEL) / 2, len(taken) - 1)) * error)
    # By as much as a factor: an amount below nothing is no end of a range.
    factor = float(np.exp(half / value)) if value > 0 else 1.0
    return Ranged(value=float(value), low=float(value / factor), high=float(value * factor))
