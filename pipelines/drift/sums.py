"""A side read through once: its moments without rounding, and the rows that lie farthest from what was there."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from operators.base.columns import ID, URI
from operators.vectors.exact_sums import GRID_BITS, ExactSums
from pipelines.drift.nearest import nearest_cosines, unit_vectors
from pipelines.drift.side import Side, decoded
from pipelines.space.flat import flat_vectors


@dataclass
class FarRows:
    """The rows farthest from the nearest of some references, by cosine, among those counted in; of a row of several
    vectors the farthest counts."""

    references: np.ndarray
    """(R, D) float32 of length 1."""
    most: int
    distances: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    vectors: np.ndarray | None = None
    ids: list[str | None] = field(default_factory=list)
    uris: list[str | None] = field(default_factory=list)

    def add(self, vectors_MD: np.ndarray, rows_M: np.ndarray, table: pa.Table) -> None:
        """Count in vectors, each with the index of its row in `table`."""
        if not len(vectors_MD):
            return
        distances = 1 - nearest_cosines(unit_vectors(vectors_MD), self.references)[0][:, 0]
        # Of each row its farthest vector.
        order = np.lexsort((-distances, rows_M))
        order = order[np.unique(rows_M[order], return_index=True)[1]]
        chosen = order[np.argsort(-distances[order], kind="stable")[: self.most]]
        picked = table.take(pa.array(rows_M[chosen]))
        ids, uris = self.ids + picked[ID.name].to_pylist(), self.uris + picked[URI.name].to_pylist()
        held = vectors_MD[:0] if self.vectors is None else self.vectors
        all_distances = np.concatenate([self.distances, distances[chosen]])
        all_vectors = np.concatenate([held, vectors_MD[chosen]])
        best = np.argsort(-all_distances, kind="stable")[: self.most]
        self.distances, self.vectors = all_distances[best], all_vectors[best]
        self.ids, self.uris = [ids[at] for at in best], [uris[at] for at in best]


def read_through(
    side: Side, far: FarRows | None = None, on_rows: Callable[[int], None] = lambda rows: None
) -> ExactSums:
    """The sums of all vectors of a side, and into `far` its rows. Rows without a finite vector are passed over.

    Raises `UserError` for numbers above 65,536, too large to be summed without rounding.
    """
    sums, rows = ExactSums(side.column.codec.dim, GRID_BITS["float32"]), 0
    for table in side.batches([ID.name, URI.name] if far else []):
        vectors, whole, _ = decoded(side.column, table)
        sums.add(vectors)
        if far is not None and len(vectors):
            counts = flat_vectors(table[side.column.name].filter(pa.array(whole))).counts
            far.add(vectors, np.repeat(np.flatnonzero(whole), counts), table)
        rows += len(table)
        on_rows(rows)
    return sums
