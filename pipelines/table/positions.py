"""Positions as numbers: one int64 key per manifest row, runs of keys for the wire, one bit per row in memory."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa


def position_keys(shards: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(N,) int64: `shard << 32 | row`, so that keys sort as positions do."""
    keys: np.ndarray = (shards.astype(np.int64) << 32) | rows.astype(np.int64)
    return keys


def table_keys(table: pa.Table | pa.RecordBatch) -> np.ndarray:
    """(N,) int64 keys from the `shard` and `row` columns, in the rows' order."""
    return position_keys(table["shard"].to_numpy(), table["row"].to_numpy())


def describe_keys(keys: np.ndarray, most: int = 5) -> str:
    """The first few as `(shard, row), …`, for error messages."""
    shown = ", ".join(f"({int(key) >> 32}, {int(key) & 0xFFFFFFFF})" for key in keys[:most])
    return shown + (f" and {len(keys) - most:,} more" if len(keys) > most else "")


def pack_runs(keys: np.ndarray) -> bytes:
    """Sorted, distinct keys as (start, length) pairs of little-endian int64: 16 bytes for a contiguous block."""
    if not len(keys):
        return b""
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 2) != 1)
    lengths = np.diff(starts, append=len(keys))
    return np.stack([keys[starts], lengths], axis=1).astype("<i8").tobytes()


def unpack_runs(packed: bytes) -> np.ndarray:
    """The keys that `pack_runs` packed: sorted (N,) int64."""
    runs = np.frombuffer(packed, "<i8").reshape(-1, 2).astype(np.int64)
    starts, lengths = runs[:, 0], runs[:, 1]
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum(), dtype=np.int64)


class PositionSet:
    """A set of positions at one bit per row: 125 MB for a billion rows. Not thread-safe."""

    def __init__(self) -> None:
        self._bits: dict[int, np.ndarray] = {}
        self.count = 0

    def add(self, keys: np.ndarray) -> np.ndarray:
        """Add the keys; gives those that were in the set already or came twice, sorted."""
        ordered = np.sort(keys)
        repeated = [ordered[1:][ordered[1:] == ordered[:-1]]]
        for shard, rows in _by_shard(ordered):
            start, packed = _pack(rows)
            bits = self._room(shard, start + len(packed))[start : start + len(packed)]
            before = bits & packed
            self.count += int(np.bitwise_count(packed).sum()) - int(np.bitwise_count(before).sum())
            if before.any():
                again = np.flatnonzero(np.unpackbits(before, bitorder="little")) + (start << 3)
                repeated.append(position_keys(np.full(len(again), shard), again))
            bits |= packed
        return np.unique(np.concatenate(repeated))

    def remove(self, keys: np.ndarray) -> None:
        """Remove the keys; others than those in the set are ignored."""
        present = np.unique(keys[self.contains(keys)])
        for shard, rows in _by_shard(present):
            start, packed = _pack(rows)
            self._bits[shard][start : start + len(packed)] &= ~packed
        self.count -= len(present)

    def minus(self, *others: "PositionSet") -> "PositionSet":
        """A new set: what is in this one and in no other."""
        left = PositionSet()
        for shard, bits in self._bits.items():
            kept = bits.copy()
            for other in others:
                there = other._bits.get(shard, bits[:0])[: len(kept)]
                kept[: len(there)] &= ~there
            left._bits[shard] = kept
            left.count += int(np.bitwise_count(kept).sum())
        return left

    def union(self, *others: "PositionSet") -> "PositionSet":
        """A new set: what is in any of them."""
        joined = self.minus()
        for other in others:
            for shard, bits in other._bits.items():
                room = joined._room(shard, len(bits))[: len(bits)]
                joined.count += int(np.bitwise_count(bits & ~room).sum())
                room |= bits
        return joined

    def packed(self, shard: int) -> bytes:
        """One bit for each row of the shard, the first row lowest in its byte; `add_packed` reads it."""
        return np.trim_zeros(self._bits.get(shard, np.zeros(0, np.uint8)), "b").tobytes()

    def add_packed(self, shard: int, packed: bytes) -> None:
        """Add what `packed` gave."""
        bits = np.frombuffer(packed, np.uint8)
        room = self._room(shard, len(bits))[: len(bits)]
        self.count += int(np.bitwise_count(bits & ~room).sum())
        room |= bits

    @property
    def shards(self) -> list[int]:
        """Shards that may have a position in the set, sorted."""
        return sorted(self._bits)

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """(N,) bool in the keys' order: which ones are in the set."""
        found = np.zeros(len(keys), bool)
        shards, rows = keys >> 32, keys & 0xFFFFFFFF
        for shard in np.unique(shards):
            bits = self._bits.get(int(shard))
            if bits is None:
                continue
            inside = (shards == shard) & (rows >> 3 < len(bits))
            at = rows[inside]
            found[inside] = (bits[at >> 3] >> (at & 7)) & 1
        return found

    def mask(self, shard: int, rows: int) -> np.ndarray:
        """(rows,) bool: which rows of one shard are in the set."""
        bits = self._bits.get(shard, np.zeros(0, np.uint8))
        found = np.unpackbits(bits, count=min(rows, len(bits) * 8), bitorder="little").astype(bool)
        return np.concatenate([found, np.zeros(rows - len(found), bool)])

    def by_shard(self) -> Iterator[np.ndarray]:
        """Sorted keys, one array per shard that has any."""
        for shard in sorted(self._bits):
            rows = np.flatnonzero(np.unpackbits(self._bits[shard], bitorder="little"))
            if len(rows):
                yield position_keys(np.full(len(rows), shard), rows)

    def _room(self, shard: int, size: int) -> np.ndarray:
        bits = self._bits.get(shard)
        if bits is None or len(bits) < size:
            grown = np.zeros(max(size, 1024, 0 if bits is None else 2 * len(bits)), np.uint8)
            if bits is not None:
                grown[: len(bits)] = bits
            self._bits[shard] = bits = grown
        return bits


def _by_shard(ordered: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(shard, its rows) from sorted keys."""
    shards = ordered >> 32
    starts = np.flatnonzero(np.diff(shards, prepend=-1))
    ends = np.append(starts, len(ordered))[1:]
    for start, end in zip(starts, ends, strict=True):
        yield int(shards[start]), ordered[start:end] & 0xFFFFFFFF


def _pack(rows: np.ndarray) -> tuple[int, np.ndarray]:
    """Sorted rows as bits: (offset in bytes, bytes from there on)."""
    start = int(rows[0]) >> 3
    spread = np.zeros(int(rows[-1]) + 1 - (start << 3), bool)
    spread[rows - (start << 3)] = True
    return start, np.packbits(spread, bitorder="little")
