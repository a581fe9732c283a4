"""Which rows were seen, beside a plain set."""

import tracemalloc

import numpy as np
import pytest

from pipelines.audit.seen_rows import SeenRows


@pytest.mark.parametrize("seed", range(5))
def test_it_says_what_a_set_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen, plain = SeenRows(), set[tuple[int, int]]()
    for _ in range(30):
        shard, rows = int(rng.integers(0, 4)), rng.integers(0, 300, rng.integers(0, 60))
        before = {row for row in rows.tolist() if (shard, row) in plain}
        twice = {row for row in rows.tolist() if (rows == row).sum() > 1}
        assert set(seen.add(shard, rows).tolist()) == before | twice
        plain |= {(shard, row) for row in rows.tolist()}
        assert seen.count == len(plain)
    for shard in range(5):
        there = [(shard, row) in plain for row in range(400)]
        assert seen.mask(shard, 400).tolist() == there
        assert not any(there[seen.reach(shard) :])


def test_ten_million_rows_take_a_bit_each() -> None:
    tracemalloc.start()
    seen = SeenRows()
    for start in range(0, 10_000_000, 65_536):
        seen.add(0, np.arange(start, min(start + 65_536, 10_000_000)))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen.count == 10_000_000
    assert held < 3_000_000
    assert peak < 12_000_000
