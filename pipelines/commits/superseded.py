"""Which rows of the tables an image's new rows take the place of: positions of the new ones to those of the old."""

from dataclasses import dataclass, field

import numpy as np


class PositionMap:
    """New position -> positions of old rows, as two int64 arrays of 8 bytes an image each. A new position may be there
    several times, or not at all."""

    def __init__(self, new: np.ndarray, old: np.ndarray) -> None:
        order = np.argsort(new, kind="stable")
        self._new, self._old = new[order], old[order]

    def __len__(self) -> int:
        return len(self._new)

    def of(self, keys: np.ndarray) -> np.ndarray:
        """Sorted positions of the old rows of these new ones."""
        return np.unique(self._old[np.isin(self._new, keys)])

    def one_of(self, keys: np.ndarray) -> np.ndarray:
        """(N,) int64 in the keys' order: an old position of each, -1 for a key that has none."""
        at = np.minimum(np.searchsorted(self._new, keys, "left"), max(0, len(self._new) - 1))
        if not len(self._new):
            return np.full(len(keys), -1, np.int64)
        found: np.ndarray = np.where(self._new[at] == keys, self._old[at], -1)
        return found


def no_positions() -> PositionMap:
    return PositionMap(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, kw_only=True)
class Superseded:
    """The old rows of the images of one manifest, by table."""

    vectors: PositionMap = field(default_factory=no_positions)
    failures: PositionMap = field(default_factory=no_positions)
