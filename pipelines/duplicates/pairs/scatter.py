"""A part of the rows brought to their cells: vectors as they are stored, sorted by cell, in one object of work."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.base.columns import ID
from operators.vectors.apply import vector_type
from pipelines.duplicates.pairs.cells import place, unit_rows
from pipelines.duplicates.pairs.exact import image_keys
from pipelines.duplicates.pairs.rows import MatchingRows
from pipelines.duplicates.pairs.work import WorkFolder
from pipelines.export.plan import Part
from pipelines.space.flat import flat_numpy
from pipelines.space.usable_rows import usable_rows

CENTRES, SAMPLE, SAMPLE_ROWS, SAMPLE_IMAGES = "centres.npy", "sample.npy", "sample-rows.npy", "sample-images.npy"
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
    across_images: bool
    """Rows are regions, and those of one image are not compared."""

    def __call__(self, piece: ScatterPart) -> int:
        """Write the part's records, then how many each cell has, which says that the part is done; gives its rows.
        Raises as `MatchingRows.read` and `WorkFolder.put` do."""
        numbers, stored, images = self._read(piece)
        centres = self.work.array(CENTRES)
        kinds = record_type(stored.dtype, stored.shape[1], across_images=self.across_images)
        units = unit_rows(stored)
        placed = place(units, centres, self.threshold, self.probes)
        records = np.zeros(len(placed.rows), kinds)
        records["row"], records["home"] = numbers[placed.rows], placed.home
        records["vector"] = stored[placed.rows]
        if self.across_images:
            records["image"] = images[placed.rows]
        number = piece.part.number
        self.work.put(records_name(number), records.tobytes())
        self.work.put_array(truth_name(number), self._truth(numbers, units, images))
        usable = np.array([len(numbers)], np.int64)
        counts = np.bincount(placed.cells, minlength=len(centres)).astype(np.int64)
        self.work.put_array(counts_name(number), np.concatenate([usable, counts]))
        return piece.part.rows

    def _read(self, piece: ScatterPart) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(numbers (M,), vectors (M, D) as stored, keys (M,) of their images where that matters, else 0) of the rows
        that are compared and have a vector with a direction."""
        alone = np.unpackbits(np.frombuffer(piece.alone, np.uint8), count=piece.part.rows).astype(bool)
        numbers, vectors, images, first = [], [], [np.zeros(0, np.uint64)], 0
        kind: pa.DataType | None = None
        ids = [ID.name] if self.across_images else []
        for batch in self.rows.read(piece.part, [self.column, *ids]):
            kind = batch.schema.field(self.column).type
            wanted = alone[first : first + batch.num_rows]
            usable = wanted & usable_rows(batch[self.column], "cosine")
            numbers.append(piece.first + first + np.flatnonzero(usable))
            images.append(image_keys(batch[ID.name])[usable] if ids else np.zeros(int(usable.sum()), np.uint64))
            if usable.any():
                vectors.append(flat_numpy(batch[self.column].filter(pa.array(usable))))
            first += batch.num_rows
        if not vectors:
            assert kind is not None
            vector = vector_type(kind)
            vectors = [np.zeros((0, vector.list_size), vector.value_type.to_pandas_dtype())]
        return np.concatenate(numbers), np.concatenate(vectors), np.concatenate(images)

    def _truth(self, numbers: np.ndarray, units: np.ndarray, images: np.ndarray) -> np.ndarray:
        """(P, 2) uint32: rows of the sample and all rows of the part whose cosine to them reaches the threshold."""
        sample, rows, of_sample = (self.work.array(name) for name in (SAMPLE, SAMPLE_ROWS, SAMPLE_IMAGES))
        if not len(sample):
            return np.zeros((0, 2), np.uint32)
        found = []
        for first in range(0, len(units), 4096):
            some = units[first : first + 4096]
            # What lies within rounding of the threshold is nobody's miss.
            hits = np.flatnonzero((some @ sample.T).ravel() >= self.threshold + 1e-5)
            one, other = hits % len(sample), first + hits // len(sample)
            pairs = np.stack([rows[one], numbers[other]], axis=1)
            apart = of_sample[one] != images[other] if self.across_images else pairs[:, 0] != pairs[:, 1]
            found.append(pairs[apart].astype(np.uint32))
        return np.concatenate(found) if found else np.zeros((0, 2), np.uint32)


def part_rows(dim: int, itemsize: int, probes: int) -> int:
    """Rows of a part, so that it fits in memory."""
    return max(1024, _PART_BYTES // ((1 + probes // 2) * (dim * itemsize + 5) + 4 * dim))


def record_type(dtype: np.dtype, dim: int, *, across_images: bool) -> np.dtype:
    """A vector in its cell."""
    image = [("image", "<u8")] if across_images else []
    return np.dtype([("row", "<u4"), ("home", "?"), *image, ("vector", dtype.newbyteorder("<"), (dim,))])


def records_name(number: int) -> str:
    return f"records-{number:06d}.bin"


def counts_name(number: int) -> str:
    return f"counts-{number:06d}.npy"


def truth_name(number: int) -> str:
    return f"truth-{number:06d}.npy"
