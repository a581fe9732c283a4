"""Which rows of which shards were seen, at one bit a row: 12.5 MB for a hundred million.

The writer keeps its own account (`pipelines/table/positions.py`). This one shares nothing with it, so that a defect of
the one shows in the other.
"""

import numpy as np


class SeenRows:
    """A set of (shard, row). Of shards whose numbers of rows are known only by a bound, as much is held as was seen."""

    def __init__(self) -> None:
        self._bits: dict[int, np.ndarray] = {}
        self.count = 0

    def add(self, shard: int, rows: np.ndarray) -> np.ndarray:
        """Add rows of one shard; gives those, sorted, that were there before or came more than once."""
        ordered, times = np.unique(rows.astype(np.int64), return_counts=True)
        if not len(ordered):
            return ordered
        bits = self._room(shard, int(ordered[-1]) + 1)
        masks = (1 << (ordered & 7)).astype(np.uint8)
        before = (bits[ordered >> 3] & masks) != 0
        np.bitwise_or.at(bits, ordered >> 3, masks)
        self.count += int((~before).sum())
        again: np.ndarray = ordered[before | (times > 1)]
        return again

    def _room(self, shard: int, rows: int) -> np.ndarray:
        bits, wanted = self._bits.get(shard, np.zeros(0, np.uint8)), (rows + 7) // 8
        if len(bits) < wanted:
            # Twice as much as before: rows come in order, a batch at a time.
            grown = np.zeros(max(wanted, 2 * len(bits)), np.uint8)
            grown[: len(bits)] = bits
            bits = self._bits[shard] = grown
        return bits

    @property
    def shards(self) -> list[int]:
        return sorted(self._bits)

    def reach(self, shard: int) -> int:
        """A number of rows beyond which nothing of the shard was seen."""
        return 8 * len(self._bits.get(shard, ()))

    def mask(self, shard: int, rows: int) -> np.ndarray:
        """(rows,) bool: which of the first rows of the shard were seen."""
        seen = np.zeros(rows, bool)
        bits = self._bits.get(shard)
        if bits is not None:
            known = np.unpackbits(bits, bitorder="little")[:rows]
            seen[: len(known)] = known
        return seen
