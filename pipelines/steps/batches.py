"""Which rows each step sees: by its number alone, so that a training that goes on sees what it would have seen."""

from dataclasses import dataclass, field

import numpy as np

MATES = 3
"""Rows of the same label that join each row of a batch, at most."""


@dataclass
class Batches:
    """Every row comes once in each pass through the rows, in an order of its own; with labels other rows of the same
    label join it."""

    rows: np.ndarray
    """(N,) places of the rows to train on."""
    labels: np.ndarray | None
    """(N,) int64 of those rows."""
    size: int
    seed: int
    _order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
    _by_label: np.ndarray = field(init=False)
    _starts: np.ndarray = field(init=False)
    _codes: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        if self.labels is not None:
            _, self._codes, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
            self._by_label = np.argsort(self._codes, kind="stable")
            self._starts = np.concatenate([[0], np.cumsum(counts)])

    @property
    def drawn(self) -> int:
        """Rows of a batch before others join them."""
        return min(len(self.rows), self.size if self.labels is None else max(self.size // (1 + MATES), 2))

    def at(self, step: int) -> np.ndarray:
        """Places of the rows of a step, in order, each once."""
        a_pass = max(len(self.rows) // self.drawn, 1)
        number, place = divmod(step, a_pass)
        if self._order[0] != number:
            self._order = number, np.random.default_rng([self.seed, 1, number]).permutation(len(self.rows))
        drawn = self._order[1][place * self.drawn : (place + 1) * self.drawn]
        if self.labels is not None:
            random = np.random.default_rng([self.seed, 2, step])
            first, last = self._starts[self._codes[drawn]], self._starts[self._codes[drawn] + 1]
            mates = random.integers(first[:, None], last[:, None], (len(drawn), MATES))
            drawn = np.concatenate([drawn, self._by_label[mates].ravel()])
        found: np.ndarray = self.rows[np.unique(drawn)]
        return found
