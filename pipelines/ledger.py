"""What is done: the positions that the two tables hold, read from the tables themselves."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.plain_scan import plain_scan
from pipelines.positions import PositionSet, describe_keys, table_keys
from pipelines.region_rows import FIRST_REGION, layout_of
from pipelines.table_errors import CorruptTableError

_KEYS_AT_ONCE = 1 << 20
"""8 MB of keys are gathered before they become bits: a table of many small fragments gives many small batches."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One manifest's rows against the tables."""

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
    """The positions of one manifest's shards. Two bits per row in memory, and one for each way to be left out."""

    def __init__(self, first_shard: int, num_shards: int) -> None:
        self.first_shard = first_shard
        self.num_shards = num_shards
        self.vectors = PositionSet()
        self.failures = PositionSet()
        self.skipped = PositionSet()
        self.deleted = PositionSet()
        """In neither table and not to come back: taken down, or deleted by another tool."""

    def done(self, shard: int, rows: int) -> np.ndarray:
        """(rows,) bool: which rows of the shard, numbered as in the tables, need no work any more."""
        masks = (held.mask(shard, rows) for held in (self.vectors, self.failures, self.skipped, self.deleted))
        done: np.ndarray = np.logical_or.reduce(list(masks))
        return done

    def committed(self, keys: np.ndarray) -> np.ndarray:
        """(N,) bool: which positions stand in one of the tables."""
        held: np.ndarray = self.vectors.contains(keys) | self.failures.contains(keys)
        return held

    def in_both(self) -> np.ndarray:
        """Positions in both tables, sorted: a move of failures was cut off between its two commits."""
        found = [keys[self.vectors.contains(keys)] for keys in self.failures.by_shard()]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def audit(self, shard_rows: Sequence[int]) -> Audit:
        """Compare with the manifest: `shard_rows[i]` rows are expected of shard `first_shard + i`.

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
    """How many rows of one Lance table stand in each shard; only rows that match the SQL of `where`."""
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

    Of a table with a row per region an image's first one speaks for the image. Raises `CorruptTableError` if a position
    is there twice.
    """
    positions = PositionSet()
    within = f"`shard` >= {first_shard} AND `shard` < {first_shard + num_shards}"
    if layout_of(dataset.schema) == "rows":
        within += f" AND {FIRST_REGION}"
    if where is not None:
        within += f" AND ({where})"
    gathered: list[np.ndarray] = []
    waiting = 0
    for batch in plain_scan(dataset, ["shard", "row"], within, in_order=False):
        gathered.append(table_keys(batch))
        waiting += batch.num_rows
        if waiting >= _KEYS_AT_ONCE:
            _add(positions, gathered, dataset.uri)
            waiting = 0
    _add(positions, gathered, dataset.uri)
    return positions


def _add(positions: PositionSet, gathered: list[np.ndarray], uri: str) -> None:
    if not gathered:
        return
    repeated = positions.add(np.concatenate(gathered))
    gathered.clear()
    if len(repeated):
        raise CorruptTableError(
            f"{uri}: positions stand there more than once: (shard, row) {describe_keys(repeated)}. "
            "Another tool may have written to the table; restore an earlier version of it, or embed into a new one"
        )
