from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.swap.hashed import HashedRows, content_hashes, same_content


def test_values_are_found_by_their_hash_in_whatever_order_they_were_added(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 63, 5000, np.uint64) * np.uint64(2)
    held = HashedRows(tmp_path / "rows")
    for start in range(0, 5000, 700):
        held.add(hashes[start : start + 700], np.arange(start, min(start + 700, 5000), dtype=np.uint64))
    held.sort()
    asked = rng.permutation(np.concatenate([hashes[::3], hashes[::7] + np.uint64(1)]))
    places, values = held.find(asked)
    assert (hashes[values.astype(int)] == asked[places]).all()
    assert sorted(values.tolist()) == list(range(0, 5000, 3))
    assert held.find(np.zeros(0, np.uint64))[0].size == 0


def test_all_of_the_same_hash_are_given_up_to_eight(tmp_path: Path) -> None:
    held = HashedRows(tmp_path / "rows")
    held.add(np.full(20, 7, np.uint64), np.arange(20, dtype=np.uint64))
    held.add(np.full(3, 9, np.uint64), np.arange(3, dtype=np.uint64))
    held.sort()
    places, values = held.find(np.array([9, 8, 7], np.uint64))
    assert places.tolist() == [0, 0, 0] + [2] * 8
    assert values.tolist() == [0, 1, 2, *range(8)]


def test_a_row_is_known_by_its_id_its_region_and_its_bytes() -> None:
    region = pa.struct([("kind", pa.string()), ("index", pa.int32())])

    def row(name: str, sha256: str | None, index: int) -> pa.Table:
        regions = pa.array([{"kind": "grid", "index": index}], region)
        return pa.table({"id": [name], "sha256": pa.array([sha256], pa.string()), "region": regions})

    one = row("a", "s", 1)
    others = [row("b", "s", 1), row("a", "t", 1), row("a", "s", 2), row("a", None, 1)]
    assert same_content(one, row("a", "s", 1)).all()
    assert not any(same_content(one, other).any() for other in others)
    assert not same_content(row("a", None, 1), row("a", None, 1)).any()
    assert len({int(content_hashes(each)[0]) for each in (one, *others)}) == 5
    # What joins the parts is in none of them.
    assert content_hashes(row("a1", "s", 0))[0] != content_hashes(row("a", "s", 10))[0]
