"""What is left of a shard, and how shards make epochs."""

from dataclasses import replace

import numpy as np

from pipelines.manifests.manifest import Shard
from pipelines.sources.work import PIECE_BYTES, epochs, shard_work, split, split_large


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


def test_pieces_of_a_shard_are_its_wanted_rows_once_each() -> None:
    mask = np.random.default_rng(0).random(1001) < 0.5
    whole, part = shard_work(shard(10), 3, np.ones(10, bool)), shard_work(shard(1001), 4, mask)
    assert whole is not None
    assert part is not None
    pieces = list(split([whole, part], 100))
    assert pieces[0] == whole
    assert [piece.num_wanted for piece in pieces[1:]] == [100] * 4 + [mask.sum() - 400]
    wanted = [piece.wanted() for piece in pieces[1:]]
    assert np.array_equal(np.sum(wanted, axis=0), mask)
    assert [piece.num_wanted for piece in split([whole], 4)] == [4, 4, 2]


def test_a_large_shard_is_cut_by_its_bytes_into_sixteen_pieces_at_most() -> None:
    for size, pieces in ((0, 1), (PIECE_BYTES, 1), (PIECE_BYTES + 1, 2), (5 * PIECE_BYTES, 5), (99 * PIECE_BYTES, 16)):
        large = shard_work(replace(shard(1001), num_bytes=size), 0, np.ones(1001, bool))
        assert large is not None
        cut = list(split_large([large]))
        assert len(cut) == pieces
        assert sum(item.num_wanted for item in cut) == 1001
        assert max(item.num_wanted for item in cut) == -(-1001 // pieces)
