"""A threshold from pairs that a person has labelled."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates.pairs.cells import unit_rows
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.space.flat import flat_numpy
from pipelines.space.usable_rows import usable_rows

_TAKE_ROWS = 8192
_Z = 1.959964


class Calibration(NamedTuple):
    """A threshold and how it does on the pairs that it was chosen on."""

    threshold: float
    positives: int
    """Pairs labelled as duplicates."""
    negatives: int
    true_positives: int
    """Duplicates at or above the threshold."""
    false_positives: int

    @property
    def precision(self) -> float:
        return self.true_positives / (self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        return self.true_positives / self.positives


def calibrate(cosines: np.ndarray, duplicates: np.ndarray) -> Calibration:
    """The threshold with the highest F1 on pairs with `cosines` (P,) of which `duplicates` (P,) bool are; of equal ones
    the highest. It lies at the last pair above it: between that and the next
    nothing is known, and what is dropped is gone. Raises `ValueError` unless there are pairs
    of both kinds."""
    if duplicates.all() or not duplicates.any():
        raise ValueError("pairs of both kinds are needed, duplicates and others")
    order = np.argsort(-cosines, kind="stable")
    cosines, duplicates = cosines[order], duplicates[order]
    true, above = np.cumsum(duplicates), np.arange(1, len(cosines) + 1)
    f1 = 2 * true / (above + duplicates.sum())
    # Pairs with one cosine are above together.
    f1[:-1][cosines[:-1] == cosines[1:]] = -1
    best = int(np.argmax(f1))
    positives = int(duplicates.sum())
    return Calibration(
        threshold=_under(float(cosines[best]), float(cosines[best + 1]) if best + 1 < len(cosines) else 0.0),
        positives=positives,
        negatives=len(duplicates) - positives,
        true_positives=int(true[best]),
        false_positives=best + 1 - int(true[best]),
    )


def _under(above: float, below: float) -> float:
    """The cosine `above`, cut to as few digits, four at least, as still tell it from `below`."""
    cuts = (math.floor(above * 10**digits) / 10**digits for digits in range(4, 16))
    return next((cut for cut in cuts if below < cut <= above), above)


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson, 1927); 0 to 1 of none."""
    if not of:
        return 0.0, 1.0
    share, extra = hits / of, _Z**2 / of
    centre = (share + extra / 2) / (1 + extra)
    half = _Z / (1 + extra) * (share * (1 - share) / of + extra / (4 * of)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def pair_cosines(dataset: Any, column: str, name: str, one: Sequence[str], other: Sequence[str]) -> np.ndarray:
    """(P,) float64 cosines of pairs of ids, of the column `name`; NaN where an id has no row with a vector. Of several
    rows the first counts."""
    names = pc.unique(pa.array([*one, *other], pa.large_string()))
    row_of: dict[str, int] = {}
    for batch in plain_scan(dataset, [name], live_rows(dataset.schema), with_row_id=True):
        asked = pc.is_in(batch[name].cast(names.type), value_set=names)
        for each, row in zip(
            batch[name].filter(asked).to_pylist(), batch["_rowid"].filter(asked).to_pylist(), strict=True
        ):
            row_of.setdefault(each, row)
    cosines = np.full(len(one), np.nan)
    both = np.flatnonzero([a in row_of and b in row_of for a, b in zip(one, other, strict=True)])
    for first in range(0, len(both), _TAKE_ROWS):
        some = both[first : first + _TAKE_ROWS].tolist()
        sides = [
            dataset._take_rows([row_of[side[at]] for at in some], columns=[column])[column] for side in (one, other)
        ]
        usable = usable_rows(sides[0], "cosine") & usable_rows(sides[1], "cosine")
        if usable.any():
            left, right = (unit_rows(flat_numpy(side.filter(pa.array(usable)))).astype(np.float64) for side in sides)
            lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
            cosines[np.array(some)[usable]] = np.minimum(np.einsum("nd,nd->n", left, right) / lengths, 1)
    return cosines
