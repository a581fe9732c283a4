"""The vectors of rows that a head is trained on: held in memory, or left in the table until they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pipelines.space.flat import flat_numpy
from pipelines.space.samples import TAKE_ROWS
from pipelines.table.table import Table


class RowVectors(Protocol):
    """Vectors of N rows, by the places of these."""

    @property
    def dim(self) -> int: ...

    def take(self, places: np.ndarray) -> np.ndarray:
        """(M, D) as they are stored."""

    def hold(self, places: np.ndarray) -> "HeldVectors":
        """Those at these places, in memory."""


@dataclass(frozen=True)
class HeldVectors:
    """In memory."""

    values: np.ndarray
    """(N, D) as they are stored; of a part of the rows those at `held`."""
    held: np.ndarray | None = None
    """The places that there are, in order; None for all."""

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    def hold(self, places: np.ndarray) -> "HeldVectors":
        kept = np.unique(places)
        return HeldVectors(self.take(kept), kept)

    def take(self, places: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.values[places if self.held is None else np.searchsorted(self.held, places)]
        return found


@dataclass(frozen=True)
class VectorsInTable:
    """In one version of a table: plain data, which workers are sent."""

    table: Table
    version: int
    column: str
    row_ids: np.ndarray
    """(N,) uint64."""
    numbers: int
    """Of a vector."""

    @property
    def dim(self) -> int:
        return self.numbers

    def take(self, places: np.ndarray) -> np.ndarray:
        order = np.argsort(self.row_ids[places])
        dataset = self.table.at(self.version)
        parts = [flat_numpy(part[self.column]) for part in taken(dataset, self.row_ids[places][order], [self.column])]
        found = np.empty((len(places), self.dim), parts[0].dtype)
        found[order] = np.concatenate(parts)
        return found

    def hold(self, places: np.ndarray) -> HeldVectors:
        kept = np.unique(places)
        return HeldVectors(self.take(kept), kept)


def taken(dataset: Any, row_ids: np.ndarray, columns: Sequence[str]) -> list[pa.Table]:
    """Columns of the rows, in the order of their ids, in tables of at most `TAKE_ROWS`; one at least."""
    wanted = [each for each in dict.fromkeys(c.partition(".")[0] for c in columns) if each in dataset.schema.names]
    return [
        pa.table(dataset._take_rows(row_ids[start : start + TAKE_ROWS].tolist(), columns=wanted))
        for start in range(0, max(len(row_ids), 1), TAKE_ROWS)
    ]
