"""From a trial to the whole job: each figure with its range. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.balance.trial import TrialRun, Used

LEVEL = 0.95
LEAST_SPREAD = 0.1
"""What differs between a trial and a run besides chance: caches and other load."""
LEAST_CORE_S = 0.5
"""CPU seconds from which on it is known how many cores were busy: they are counted in hundredths."""


@dataclass(frozen=True, kw_only=True)
class Ranged:
    """An estimate and the ends of its range."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Ranged":
        return Ranged(value=self.value * factor, low=self.low * factor, high=self.high * factor)

    def up_to(self, factor: float) -> "Ranged":
        """The same value, that may be so many times as much."""
        return Ranged(value=self.value, low=self.low, high=self.high * factor)

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
    measured = [part.rows for part in trial.parts]
    if not sum(measured):
        raise ValueError("no row was tried")
    work = ranged([part.operator_s for part in trial.parts], measured, LEAST_SPREAD)
    factor = work.high / work.value if work.value else float(np.exp(LEAST_SPREAD))
    core_s = None if trial.taken.core_s is None else trial.taken.core_s / sum(measured)
    parts = [part for part in (trial.first, *trial.parts) if part is not None]
    rows = [part.rows for part in parts]
    return PerRow(
        seconds=_spread(_seconds(trial, sum(measured), core_s), factor),
        core_s=None if core_s is None else _spread(core_s, factor),
        size_bytes=ranged([part.size_bytes for part in parts], rows),
        written_bytes=ranged([part.written_bytes for part in parts], rows),
        requests=ranged([part.requests for part in parts], rows),
        failed=ranged([part.failed for part in parts], rows),
    )


def _seconds(trial: TrialRun, rows: int, core_s: float | None) -> float:
    """What a row takes by the clock. The end of a trial, when few blocks keep few cores busy, is a larger part of it
    than of a run: CPU seconds, which no idle core adds to, are divided by the cores that were busy before it."""
    full = trial.full
    if core_s is None or full.core_s is None or full.core_s < LEAST_CORE_S:
        return trial.taken.seconds / rows
    return core_s * full.seconds / full.core_s


def before_rows(trial: TrialRun, one: PerRow) -> Used:
    """What was before the measured rows, without the work of those that warmed up: what a run takes once."""
    core_s, rows = None, 0 if trial.first is None else trial.first.rows
    if trial.before.core_s is not None and one.core_s is not None:
        core_s = max(trial.before.core_s - rows * one.core_s.value, 0.0)
    return Used(seconds=max(trial.before.seconds - rows * one.seconds.value, 0.0), core_s=core_s)


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
