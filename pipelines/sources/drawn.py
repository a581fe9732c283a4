"""Rows of a manifest drawn by position: a pure function of the number of rows and the seed, whatever is in them."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.manifests.manifest import Shard
from pipelines.sources.work import ShardWork, shard_work


def draw_positions(rows: int, count: int, seed: int) -> np.ndarray:
    """Up to `count` different row numbers below `rows`, in random order, int64. The same seed draws the same rows."""
    return np.random.default_rng(seed).choice(rows, min(count, rows), replace=False).astype(np.int64)


def work_at(shards: Sequence[Shard], positions: np.ndarray) -> Iterator[ShardWork]:
    """The work that reads the rows of these numbers, in the manifest's order."""
    for shard in shards:
        own = positions[(positions >= shard.first_row) & (positions < shard.first_row + shard.num_rows)]
        wanted = np.zeros(shard.num_rows, bool)
        wanted[own - shard.first_row] = True
        work = shard_work(shard, shard.number, wanted)
        if work is not None:
            yield work
