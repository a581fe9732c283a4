import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.table.positions import PositionSet, describe_keys, pack_runs, position_keys, unpack_runs

keys = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 70_000)), max_size=60)


def to_keys(pairs: list[tuple[int, int]]) -> np.ndarray:
    table = np.array(pairs, np.int32).reshape(-1, 2)
    return position_keys(table[:, 0], table[:, 1])


@given(keys)
def test_runs_come_back_as_they_went_in(pairs):
    ordered = np.unique(to_keys(pairs))
    assert np.array_equal(unpack_runs(pack_runs(ordered)), ordered)


def test_a_contiguous_block_is_sixteen_bytes_and_shards_do_not_run_together():
    assert len(pack_runs(to_keys([(7, r) for r in range(5000)]))) == 16
    assert len(pack_runs(to_keys([(7, 2**31 - 1), (8, 0)]))) == 32


@given(keys, keys, keys)
def test_a_position_set_is_a_set(first, second, gone):
    held = PositionSet()
    held.add(to_keys(first))
    repeated = held.add(to_keys(second))
    twice = {p for p in second if second.count(p) > 1}
    assert {(int(k) >> 32, int(k) & 0xFFFFFFFF) for k in repeated} == (set(first) & set(second)) | twice
    held.remove(to_keys(gone))
    left = (set(first) | set(second)) - set(gone)
    assert held.count == len(left)
    found = [(int(k) >> 32, int(k) & 0xFFFFFFFF) for part in held.by_shard() for k in part]
    assert found == sorted(left)
    assert held.contains(to_keys(gone)).sum() == 0
    for shard in range(4):
        for rows in (0, 9, 70_001):
            assert set(np.flatnonzero(held.mask(shard, rows))) == {r for s, r in left if s == shard and r < rows}


@given(keys, keys, keys)
def test_sets_are_joined_and_taken_from_each_other(first, second, third):
    def of(pairs):
        held = PositionSet()
        held.add(to_keys(pairs))
        return held

    def pairs_of(held):
        found = [(int(k) >> 32, int(k) & 0xFFFFFFFF) for part in held.by_shard() for k in part]
        assert held.count == len(found)
        return set(found)

    one, two, three = of(first), of(second), of(third)
    assert pairs_of(one.minus(two, three)) == set(first) - set(second) - set(third)
    assert pairs_of(one.union(two, three)) == set(first) | set(second) | set(third)
    assert (pairs_of(one), pairs_of(two)) == (set(first), set(second))
    again = of(third)
    for shard in one.shards:
        again.add_packed(shard, one.packed(shard))
    assert pairs_of(again) == set(first) | set(third)


def test_positions_are_described_as_shard_and_row():
    assert describe_keys(to_keys([(3, 9), (4, 1)])) == "(3, 9), (4, 1)"
    assert describe_keys(to_keys([(1, r) for r in range(1005)])).endswith("(1, 4) and 1,000 more")
