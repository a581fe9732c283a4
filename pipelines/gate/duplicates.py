"""How many rows have exactly the vector of another image: counted over a table of any size, in bounded memory.

A model that has collapsed gives one vector for many images, with a good norm and no NaN.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from operators.vectors.apply import vector_type
from pipelines.space.flat import flat_vectors

GROUP = np.dtype([("vector", "u8"), ("rows", "i8"), ("low", "u8"), ("high", "u8")])
"""Rows with one vector: its hash, how many they are, and the lowest and highest hash of their images. The two differ
where there is more than one image."""
_HELD = 1 << 21
"""Groups in memory, 64 MiB, before they are written out."""
_PARTS = 256
"""Files that they are written to, by hash: at a billion different vectors 125 MB each."""


class DuplicateCount:
    """Counts rows in whose group there is another image. Vectors are equal where their 64-bit hashes are: among a
    billion, 0.03 pairs are taken for equal that are not."""

    def __init__(self, scratch: Path, held: int = _HELD) -> None:
        """`scratch` is a folder of its own, empty or not there yet, for what does not fit in memory."""
        self._scratch = scratch
        self._held = held
        self._waiting: list[np.ndarray] = []
        self._number = 0
        self._written = False
        self.rows = 0

    def add(self, vectors: np.ndarray, images: np.ndarray) -> None:
        """Count in rows by the hashes (N,) uint64 of their vectors and of their images."""
        self.rows += len(vectors)
        groups = np.zeros(len(vectors), GROUP)
        groups["vector"], groups["rows"], groups["low"], groups["high"] = vectors, 1, images, images
        self._waiting.append(_joined([groups]))
        self._number += len(self._waiting[-1])
        if self._number > self._held:
            self._waiting = [_joined(self._waiting)]
            self._number = len(self._waiting[0])
            if self._number > self._held // 2:
                self._write_out()

    def _write_out(self) -> None:
        self._scratch.mkdir(parents=True, exist_ok=True)
        [groups] = self._waiting
        parts = (groups["vector"] >> np.uint64(56)).astype(np.int64)
        # Groups are sorted by their vectors, and so by parts.
        for part, own in enumerate(np.split(groups, np.searchsorted(parts, np.arange(1, _PARTS)))):
            with (self._scratch / str(part)).open("ab") as file:
                file.write(own.tobytes())
        self._waiting, self._number, self._written = [], 0, True

    def duplicates(self) -> int:
        """The number of rows with the vector of another image."""
        if not self._written:
            return _with_others(_joined(self._waiting))
        if self._waiting:
            self._waiting = [_joined(self._waiting)]
            self._write_out()
        return sum(_with_others(_joined([np.fromfile(self._scratch / str(part), GROUP)])) for part in range(_PARTS))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """One group a vector, sorted by vector, from groups in any order."""
    groups = np.concatenate(parts) if parts else np.zeros(0, GROUP)
    if not len(groups):
        return groups
    groups = groups[np.argsort(groups["vector"], kind="stable")]
    starts = np.flatnonzero(np.concatenate([[True], groups["vector"][1:] != groups["vector"][:-1]]))
    joined = np.zeros(len(starts), GROUP)
    joined["vector"] = groups["vector"][starts]
    joined["rows"] = np.add.reduceat(groups["rows"], starts)
    joined["low"] = np.minimum.reduceat(groups["low"], starts)
    joined["high"] = np.maximum.reduceat(groups["high"], starts)
    return joined


def _with_others(groups: np.ndarray) -> int:
    return int(groups["rows"][groups["low"] != groups["high"]].sum())


def vector_hashes(column: pa.ChunkedArray) -> np.ndarray:
    """(N,) uint64 of what each row of a vector column holds, bit by bit; all vectors of a row that has several."""
    flat = flat_vectors(column)
    width = vector_type(column.type).list_size * flat.values.itemsize
    data = np.ascontiguousarray(flat.values).view(np.uint8).data.cast("B") if len(flat.values) else memoryview(b"")
    ends = (flat.starts * width).tolist()
    hashes = [xxh3_64_intdigest(data[ends[at] : ends[at + 1]]) for at in range(len(ends) - 1)]
    return np.array(hashes, np.uint64)


def image_hashes(names: pa.ChunkedArray, otherwise: pa.ChunkedArray) -> np.ndarray:
    """(N,) uint64 of what tells images apart: a text, or the other one where that is null."""
    texts = pc.fill_null(pc.coalesce(names, otherwise), "").to_pylist()
    return np.array([xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)
