"""What is left to do: shards with their wanted rows, cut into epochs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipelines.manifests.manifest import Shard

PIECE_BYTES = 128 << 20
"""Of a shard before compression: what one read task gives, and so holds."""
_MOST_PIECES = 16


@dataclass(frozen=True, kw_only=True)
class ShardWork:
    """One shard and the rows of it that this run wants."""

    shard: Shard
    shard_number: int
    """The shard's number in the table."""
    wanted_bits: bytes | None
    """`np.packbits` of a boolean per row; None when every row is wanted."""
    num_wanted: int

    def wanted(self) -> np.ndarray | None:
        """(num_rows,) bool, or None for every row."""
        if self.wanted_bits is None:
            return None
        bits = np.unpackbits(np.frombuffer(self.wanted_bits, np.uint8), count=self.shard.num_rows)
        return bits.astype(bool)


def shard_work(shard: Shard, shard_number: int, wanted: np.ndarray) -> ShardWork | None:
    """The work of one shard from (num_rows,) bool; None where nothing is wanted."""
    count = int(wanted.sum())
    if not count:
        return None
    bits = None if count == shard.num_rows else np.packbits(wanted).tobytes()
    return ShardWork(shard=shard, shard_number=shard_number, wanted_bits=bits, num_wanted=count)


def nothing_new(work: Iterable[ShardWork], before: Iterable[ShardWork]) -> bool:
    """Whether each wanted row of `work` was wanted by `before` as well."""
    known = {item.shard_number: item for item in before}
    return all(item.shard_number in known and _is_within(item, known[item.shard_number]) for item in work)


def _is_within(item: ShardWork, other: ShardWork) -> bool:
    wanted, known = item.wanted(), other.wanted()
    if known is None or wanted is None:
        return known is None
    return not (wanted & ~known).any()


def split(work: Iterable[ShardWork], max_rows: int) -> Iterator[ShardWork]:
    """The same wanted rows, in pieces of at most `max_rows`."""
    for item in work:
        if item.num_wanted <= max_rows:
            yield item
            continue
        mask = item.wanted()
        rows = np.arange(item.shard.num_rows) if mask is None else np.flatnonzero(mask)
        for start in range(0, len(rows), max_rows):
            piece = np.zeros(item.shard.num_rows, bool)
            piece[rows[start : start + max_rows]] = True
            yield replace(item, wanted_bits=np.packbits(piece).tobytes(), num_wanted=int(piece.sum()))


def split_large(work: Iterable[ShardWork]) -> Iterator[ShardWork]:
    """The same wanted rows, those of a shard of more than `PIECE_BYTES` in up to 16 pieces of about as many rows.

    A Parquet row group is read from its start on, so that 16 pieces read it eight times: more would cost more than the
    memory is worth.
    """
    for item in work:
        pieces = min(-(-item.shard.num_bytes // PIECE_BYTES), _MOST_PIECES)
        yield from split([item], -(-item.num_wanted // pieces)) if pieces > 1 else (item,)


def epochs(work: Iterable[ShardWork], max_rows: int, max_bytes: int | None = None) -> Iterator[list[ShardWork]]:
    """Groups of consecutive shards with at most `max_rows` wanted rows together, and about `max_bytes` (a single shard
    may exceed both).

    A Ray Data execution's driver memory grows with every block it has seen (ray-project/ray#66016), so a long job is
    many executions.
    """
    epoch: list[ShardWork] = []
    rows, size = 0, 0
    for item in work:
        held = item.shard.num_bytes * item.num_wanted // max(item.shard.num_rows, 1)
        if epoch and (rows + item.num_wanted > max_rows or (max_bytes is not None and size + held > max_bytes)):
            yield epoch
            epoch, rows, size = [], 0, 0
        epoch.append(item)
        rows += item.num_wanted
        size += held
    if epoch:
        yield epoch
