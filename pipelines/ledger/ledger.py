"""What is done: the positions in the two tables, read from the tables themselves."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.ledger.held_images import HeldImages, read_held
from pipelines.scan.plain import plain_scan
from pipelines.table.errors import CorruptTableError
from pipelines.table.positions import PositionSet, describe_keys


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One manifest's rows compared with the tables."""

    expected: int
    vectors: int
    failures: int
    skipped: int
    missing: int
    missing_examples: tuple[tuple[int, int], ...]
    """Up to five positions (shard, row) in neither table."""

    @property
    def complete(self) -> bool:
        return self.missing == 0


class Ledger:
    """The positions of one manifest's shards. Two bits per row in memory, and one more for each reason to leave rows
    out."""

    def __init__(self, first_shard: int, num_shards: int) -> None:
        self.first_shard = first_shard
        self.num_shards = num_shards
        self.vectors = PositionSet()
        self.failures = PositionSet()
        self.skipped = PositionSet()
        self.deleted = PositionSet()
        """Rows in neither table that stay out: taken down, or deleted by another tool."""
        self.incomplete = PositionSet()
        """Images that lack a region which another tool has deleted. They are also in `vectors`, unless they are to be
        embedded again."""
        self._incomplete_again = False

    def read(self, vectors: Any, failures: Any) -> None:
        """Add what the two tables, Lance datasets, hold. Raises `CorruptTableError` for repeated positions."""
        held = _read(vectors, self.first_shard, self.num_shards)
        self.vectors, self.incomplete = held.positions, held.incomplete
        self.failures = read_positions(failures, self.first_shard, self.num_shards)
        if self._incomplete_again:
            self.embed_incomplete_again()

    def embed_incomplete_again(self) -> None:
        """From here on, images that lack a region need work; their new rows replace what is left of them."""
        self._incomplete_again = True
        self.vectors = self.vectors.minus(self.incomplete)

    def done(self, shard: int, rows: int) -> np.ndarray:
        """(rows,) bool: which rows of the shard, numbered as in the tables, need no more work."""
        masks = (held.mask(shard, rows) for held in (self.vectors, self.failures, self.skipped, self.deleted))
        done: np.ndarray = np.logical_or.reduce(list(masks))
        return done

    def committed(self, keys: np.ndarray) -> np.ndarray:
        """(N,) bool: which positions are in one of the tables."""
        held: np.ndarray = self.vectors.contains(keys) | self.failures.contains(keys)
        return held

    def in_both(self) -> np.ndarray:
        """Positions in both tables, sorted: a move of failures was cut off between its two commits."""
        found = [keys[self.vectors.contains(keys)] for keys in self.failures.by_shard()]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def audit(self, shard_rows: Sequence[int]) -> Audit:
        """Compare the tables with the manifest, which has `shard_rows[i]` rows in shard `first_shard + i`.

        Raises `CorruptTableError` for positions that the manifest does not have.
        """
        self._check_inside(shard_rows)
        missing, examples = 0, list[tuple[int, int]]()
        for shard, rows in enumerate(shard_rows, start=self.first_shard):
            absent = np.flatnonzero(~self.done(shard, rows))
            missing += len(absent)
            examples += [(shard, int(row)) for row in absent[: 5 - len(examples)]]
        return Audit(
            expected=sum(shard_rows),
            vectors=self.vectors.count,
            failures=self.failures.count,
            skipped=self.skipped.count,
            missing=missing,
            missing_examples=tuple(examples),
        )

    def outside(self, shard_rows: Sequence[int]) -> np.ndarray:
        """Positions of the tables that the manifest does not have, sorted; `shard_rows` as for `audit`."""
        found = [np.zeros(0, np.int64)]
        for held in (self.vectors, self.failures):
            for keys in held.by_shard():
                shard = int(keys[0] >> 32) - self.first_shard
                rows = shard_rows[shard] if shard < len(shard_rows) else 0
                found.append(keys[(keys & 0xFFFFFFFF) >= rows])
        return np.unique(np.concatenate(found))

    def _check_inside(self, shard_rows: Sequence[int]) -> None:
        outside = self.outside(shard_rows)
        if len(outside):
            raise CorruptTableError(
                "the tables hold positions outside of the manifest: (shard, row) "
                f"{describe_keys(outside)}; the manifest is not the one that was embedded"
            )


def rows_by_shard(dataset: Any, where: str | None = None) -> Counter[int]:
    """Shard -> rows of one Lance table that match the SQL of `where`."""
    rows = Counter[int]()
    for batch in plain_scan(dataset, ["shard"], where, in_order=False):
        shards = batch["shard"].to_numpy()
        # Rows of a shard lie together: runs are counted, and not every number looked at.
        starts = np.flatnonzero(np.concatenate([[True], shards[1:] != shards[:-1]])[: len(shards)])
        lengths = np.diff(starts, append=len(shards))
        for shard, length in zip(shards[starts].tolist(), lengths.tolist(), strict=True):
            rows[shard] += length
    return rows


def read_positions(dataset: Any, first_shard: int, num_shards: int, where: str | None = None) -> PositionSet:
    """The positions of these shards in one Lance table, streamed; only rows that match the SQL of `where`.

    Raises `CorruptTableError` if a position, or the same region of an image, is there twice.
    """
    return _read(dataset, first_shard, num_shards, where).positions


def _read(dataset: Any, first_shard: int, num_shards: int, where: str | None = None) -> HeldImages:
    within = f"`shard` >= {first_shard} AND `shard` < {first_shard + num_shards}"
    held = read_held(dataset, within if where is None else f"{within} AND ({where})")
    if len(held.repeated):
        raise CorruptTableError(
            f"{dataset.uri}: positions stand there more than once: (shard, row) {describe_keys(held.repeated)}. "
            "Another tool may have written to the table; restore an earlier version of it, or embed into a new one"
        )
    return held
