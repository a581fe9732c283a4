"""A part of the rows brought to their cells: vectors as they are stored, sorted by cell, in one object of work."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.vectors.apply import vector_type
from pipelines.duplicates.pairs.cells import place, unit_rows
from pipelines.duplicates.pairs.rows import MatchingRows
from pipelines.duplicates.pairs.work import WorkFolder
from pipelines.export.plan import Part
from pipelines.space.flat import flat_numpy
from pipelines.space.usable_rows import usable_rows

CENTRES, SAMPLE, SAMPLE_ROWS = "centres.npy", "sample.npy", "sample-rows.npy"
_PART_BYTES = 512 << 20
"""Of the records of a part where every vector makes every visit that it may."""


@dataclass(frozen=True, kw_only=True)
class ScatterPart:
    """One piece of work."""

    part: Part
    first: int
    """Number of the part's first row."""
    alone: bytes
    """One bit a row: those that are compared; others have the bytes of an earlier row."""


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """The work on all parts. Declared on the driver, pickled to workers."""

    rows: MatchingRows
    work: WorkFolder
    column: str
    threshold: float
    probes: int

    def __call__(self, piece: ScatterPart) -> int:
        """Write the part's records, then how many each cell has, which says that the part is done; gives its rows.
        Raises as `MatchingRows.read` and `WorkFolder.put` do."""
        numbers, stored = self._read(piece)
        centres = self.work.array(CENTRES)
        kinds = record_type(stored.dtype, stored.shape[1])
        units = unit_rows(stored)
        placed = place(units, centres, self.threshold, self.probes)
        records = np.zeros(len(placed.rows), kinds)
        records["row"], records["home"] = numbers[placed.rows], placed.home
        records["vector"] = stored[placed.rows]
        number = piece.part.number
        self.work.put(records_name(number), records.tobytes())
        self.work.put_array(truth_name(number), self._truth(numbers, units))
        usable = np.array([len(numbers)], np.int64)
        counts = np.bincount(placed.cells, minlength=len(centres)).astype(np.int64)
        self.work.put_array(counts_name(number), np.concatenate([usable, counts]))
        return piece.part.rows

    def _read(self, piece: ScatterPart) -> tuple[np.ndarray, np.ndarray]:
        """(numbers (M,), vectors (M, D) as stored) of the rows that are compared and have a vector with a direction."""
        alone = np.unpackbits(np.frombuffer(piece.alone, np.uint8), count=piece.part.rows).astype(bool)
        numbers, vectors, first = [], [], 0
        kind: pa.DataType | None = None
        for batch in self.rows.read(piece.part, [self.column]):
            kind = batch.schema.field(self.column).type
            wanted = alone[first : first + batch.num_rows]
            usable = wanted & usable_rows(batch[self.column], "cosine")
            numbers.append(piece.first + first + np.flatnonzero(usable))
            if usable.any():
                vectors.append(flat_numpy(batch[self.column].filter(pa.array(usable))))
            first += batch.num_rows
        if not vectors:
            assert kind is not None
            vector = vector_type(kind)
            vectors = [np.zeros((0, vector.list_size), vector.value_type.to_pandas_dtype())]
        return np.concatenate(numbers), np.concatenate(vectors)

    def _truth(self, numbers: np.ndarray, units: np.ndarray) -> np.ndarray:
        """(P, 2) uint32: rows of the sample and all rows of the part whose cosine to them reaches the threshold."""
        sample, rows = self.work.array(SAMPLE), self.work.array(SAMPLE_ROWS)
        if not len(sample):
            return np.zeros((0, 2), np.uint32)
        found = []
        for first in range(0, len(units), 4096):
            some = units[first : first + 4096]
            # What lies within rounding of the threshold is nobody's miss.
            hits = np.flatnonzero((some @ sample.T).ravel() >= self.threshold + 1e-5)
            pairs = np.stack([rows[hits % len(sample)], numbers[first + hits // len(sample)]], axis=1)
            found.append(pairs[pairs[:, 0] != pairs[:, 1]].astype(np.uint32))
        return np.concatenate(found) if found else np.zeros((0, 2), np.uint32)


def part_rows(dim: int, itemsize: int, probes: int) -> int:
    """Rows of a part, so that it fits in memory."""
    return max(1024, _PART_BYTES // ((1 + probes // 2) * (dim * itemsize + 5) + 4 * dim))


def record_type(dtype: np.dtype, dim: int) -> np.dtype:
    """A vector in its cell."""
    return np.dtype([("row", "<u4"), ("home", "?"), ("vector", dtype.newbyteorder("<"), (dim,))])


def records_name(number: int) -> str:
    return f"records-{number:06d}.bin"


def counts_name(number: int) -> str:
    return f"counts-{number:06d}.npy"


def truth_name(number: int) -> str:
    return f"truth-{number:06d}.npy"
