"""The ids that a table already holds, as a set of 16 bytes an id: what `--skip-existing` leaves out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash


@dataclass(frozen=True)
class SkipIds:
    """xxh3-128 of every id as two uint64 arrays (N,), sorted by the high half, then the low. Picklable."""

    high: np.ndarray
    low: np.ndarray

    @classmethod
    def from_columns(cls, columns: Iterable[pa.Array | pa.ChunkedArray]) -> "SkipIds":
        """The set of the ids in these columns, read one after the other; nulls are left out. Peak memory is 48 bytes an
        id."""
        digests = bytearray()
        for column in columns:
            digests += _digests([text for text in column.to_pylist() if text is not None])
        high, low = _halves(digests)
        del digests
        order = np.lexsort((low, high))
        return cls(high[order], low[order])

    def __len__(self) -> int:
        return len(self.high)

    def contains(self, ids: Sequence[str | None]) -> np.ndarray:
        """Boolean (len(ids),): which of the ids are in the set. A null id never is."""
        known = np.array([text is not None for text in ids], bool)
        high, low = _halves(_digests([text for text in ids if text is not None]))
        first = np.searchsorted(self.high, high, "left")
        last = np.searchsorted(self.high, high, "right")
        found = np.zeros(len(high), bool)
        one = last - first == 1
        found[one] = self.low[first[one]] == low[one]
        for index in np.flatnonzero(last - first > 1):
            found[index] = low[index] in self.low[first[index] : last[index]]
        contained = np.zeros(len(known), bool)
        contained[known] = found
        return contained


def _digests(texts: Sequence[str]) -> bytes:
    return b"".join([xxhash.xxh3_128_digest(text.encode()) for text in texts])


def _halves(digests: bytes | bytearray) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.frombuffer(bytes(digests), ">u8").reshape(-1, 2).astype(np.uint64)
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
