"""A table that somebody moves away, drops or makes anew while a run commits to it: nothing is put in its place."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from lance.fragment import write_fragments

from operators.storage.stores import NO_OPTIONS
from pipelines.table.errors import FencedError, TableGoneError
from pipelines.table.fenced_table import FencedTable
from pipelines.table.table import open_dataset

SCHEMA = pa.schema([("n", pa.int64()), ("shard", pa.int32()), ("row", pa.int32())])


def fragments(table: FencedTable, row: int):  # type: ignore[no-untyped-def]
    rows = pa.table({"n": [row, row + 1], "shard": [0, 0], "row": [row, row + 1]}, schema=SCHEMA)
    return write_fragments(rows, table.dataset, schema=SCHEMA, mode="append", data_storage_version="2.2")


@pytest.fixture
def held(tmp_path: Path) -> FencedTable:
    table, _ = FencedTable.create_or_open(str(tmp_path / "lake/t.lance"), SCHEMA, NO_OPTIONS)
    table.claim(1, "r")
    table.refit()
    table.append(fragments(table, 0), np.array([0, 1]))
    return table


def while_a_commit_is_built(table: FencedTable, act: Callable[[], object]) -> None:
    """Delete the first row; `act` comes after the table was looked at, right before the commit."""
    calls: list[int] = []

    def find(dataset: lance.LanceDataset) -> Mapping[int, np.ndarray]:
        calls.append(1)
        if len(calls) == 2:
            act()
        return {0: np.array([0])}

    table.delete(find)


def test_moved_away_right_before_a_commit_it_is_not_made_again(held: FencedTable, tmp_path: Path) -> None:
    before = held.dataset.to_table()
    with pytest.raises(TableGoneError, match=r"t\.lance: the table is gone: it was moved away or dropped"):
        while_a_commit_is_built(held, lambda: (tmp_path / "lake/t.lance").rename(tmp_path / "away"))
    assert open_dataset(held.uri) is None
    # As it was, once it is back.
    shutil.rmtree(tmp_path / "lake/t.lance", ignore_errors=True)
    (tmp_path / "away").rename(tmp_path / "lake/t.lance")
    assert lance.dataset(held.uri).to_table() == before
    while_a_commit_is_built(held, lambda: None)


def test_gone_before_a_commit_it_is_not_tried_again(held: FencedTable, tmp_path: Path) -> None:
    new = fragments(held, 2)
    shutil.rmtree(tmp_path / "lake/t.lance")
    with pytest.raises(TableGoneError, match="move it back, and the same command goes on"):
        held.append(new, np.array([2, 3]))
    assert not (tmp_path / "lake/t.lance").exists()


def test_made_anew_by_another_it_is_left_to_that_one(held: FencedTable, tmp_path: Path) -> None:
    new = fragments(held, 2)
    shutil.rmtree(tmp_path / "lake/t.lance")
    theirs, _ = FencedTable.create_or_open(held.uri, SCHEMA, NO_OPTIONS)
    theirs.claim(1, "another")
    with pytest.raises(FencedError):
        held.append(new, np.array([2, 3]))
    assert lance.dataset(held.uri).count_rows() == 0
