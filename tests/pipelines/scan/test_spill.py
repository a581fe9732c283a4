"""Rows of several sides, brought together by a text."""

import os
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.scan import spill
from pipelines.scan.spill import Spill, side_by_side

SCHEMA = pa.schema([("key", pa.string()), ("number", pa.int64())])


def _sides(folder: Path, *keys: list[str]) -> list[Spill]:
    sides = []
    for name, each in enumerate(keys):
        side = Spill(str(folder), str(name), SCHEMA, "key", 8)
        for number, key in enumerate(each):
            side.add(pa.table({"number": [number], "key": [key]}))
        sides.append(side)
    return sides


def test_small_sides_are_read_at_once_and_never_touch_the_disk(tmp_path: Path) -> None:
    [(one, other)] = side_by_side(_sides(tmp_path, ["b", "a", "b"], []), 8)
    assert one.to_pydict() == {"key": ["b", "a", "b"], "number": [0, 1, 2]}
    assert (other.num_rows, other.schema) == (0, SCHEMA)
    assert os.listdir(tmp_path) == []


def test_where_one_side_is_large_equal_texts_of_all_lie_in_one_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_BATCH_ROWS", 16)
    monkeypatch.setattr(spill, "_PIECE_ROWS", 1)
    given = [str(number % 40) for number in range(100)], ["7", "none"]
    parts = list(side_by_side(_sides(tmp_path, *given), 8))
    assert len(parts) == 8
    homes: dict[str, int] = {}
    for at, keys in enumerate(given):
        read = [row for part in parts for row in part[at].to_pylist()]
        assert sorted(read, key=lambda row: row["number"]) == [{"key": k, "number": n} for n, k in enumerate(keys)]
        for number, part in enumerate(parts):
            assert all(homes.setdefault(key, number) == number for key in part[at]["key"].to_pylist())
    assert len(set(homes.values())) > 1
