"""What is left of a shard, and how shards make epochs."""

import numpy as np

from pipelines.manifest import Shard
from pipelines.work import epochs, shard_work


def shard(rows: int, number: int = 0) -> Shard:
    return Shard(number=number, path="x.parquet", row_groups=range(1), first_row=0, num_rows=rows)


def test_a_shard_with_nothing_wanted_is_no_work() -> None:
    assert shard_work(shard(5), 0, np.zeros(5, bool)) is None


def test_a_whole_shard_carries_no_mask_and_a_part_carries_its_own() -> None:
    whole = shard_work(shard(5), 7, np.ones(5, bool))
    assert whole is not None
    assert (whole.wanted(), whole.num_wanted, whole.shard_number) == (None, 5, 7)
    mask = np.random.default_rng(0).random(1001) < 0.5
    part = shard_work(shard(1001), 0, mask)
    assert part is not None
    assert np.array_equal(part.wanted(), mask)  # type: ignore[arg-type]
    assert part.num_wanted == mask.sum()


def test_epochs_hold_consecutive_shards_up_to_the_bound() -> None:
    work = [w for i, n in enumerate([4, 4, 4, 20, 1]) if (w := shard_work(shard(n, i), i, np.ones(n, bool)))]
    assert [[w.shard_number for w in epoch] for epoch in epochs(work, 10)] == [[0, 1], [2], [3], [4]]
    assert list(epochs([], 10)) == []
