"""A table that is kept open is seen as it is a second later at most, and as it is when it was replaced."""

import shutil
import time
from pathlib import Path

import pytest

from made.vectors import append, clustered, make, rows_of
from operators.base.arrays import vectors_from_numpy
from operators.base.errors import UserError
from pipelines.table.table import Table
from pipelines.versions import followed
from pipelines.versions.followed import FollowedTable


def test_rows_that_come_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = make(str(tmp_path / "lake" / "t"), clustered(20, 8), fragments=1)
    table = FollowedTable(Table.of(name))
    first = table.latest()
    append(name, rows_of(vectors_from_numpy(clustered(5, 8, seed=1)), 20))
    assert table.latest() is first, "a version is taken for the latest for a second"
    monkeypatch.setattr(followed, "LOOKED_S", 0.0)
    assert table.latest().count_rows() == 25
    assert table.latest() is table.latest()


def test_nobody_waits_for_another_that_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = FollowedTable(Table.of(make(str(tmp_path / "lake" / "t"), clustered(20, 8), fragments=1)))
    monkeypatch.setattr(followed, "LOOKED_S", 0.0)
    with table._lock:
        began = time.monotonic()
        assert table.latest().count_rows() == 20
        assert time.monotonic() - began < 1


def test_a_table_that_was_made_anew_is_opened_anew(tmp_path: Path) -> None:
    name = make(str(tmp_path / "lake" / "t"), clustered(20, 8), fragments=1)
    table = FollowedTable(Table.of(name))
    shutil.rmtree(tmp_path / "lake" / "t.lance")
    make(name, clustered(7, 8), fragments=1)
    assert table.reopen().count_rows() == 7
    shutil.rmtree(tmp_path / "lake" / "t.lance")
    with pytest.raises(UserError, match="there is none"):
        table.reopen()
