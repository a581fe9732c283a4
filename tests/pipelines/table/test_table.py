"""A table in its place: what opening it says of one that is not there."""

import re
from datetime import timedelta
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from operators.base.errors import UserError
from pipelines.table.errors import TableError
from pipelines.table.table import Table, open_dataset


@pytest.mark.parametrize("called", ["./lake/photos", "lake/photos/", "lake/photos.lance"])
def test_a_table_that_is_not_there_is_called_as_the_user_called_it(
    called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table, lake = Table.of(called), re.escape(str(tmp_path / "lake"))
    shown = re.escape(called)
    with pytest.raises(
        UserError, match=rf"^table {shown}: there is none at {lake}/photos\.lance; .* {shown}` makes it$"
    ):
        table.latest()
    with pytest.raises(
        UserError, match=rf"^table {shown}: there is no failures table at {lake}/photos__failures\.lance"
    ):
        table.latest_failures()


def test_a_table_is_the_same_by_whatever_name_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Table.of("./lake/photos") == Table.of(f"{tmp_path}/lake/photos")


def test_a_version_that_was_cleaned_up_is_not_a_table_that_was_dropped(tmp_path: Path) -> None:
    table = Table.of(f"{tmp_path}/photos")
    for number in (1, 2):
        dataset = lance.write_dataset(pa.table({"number": [number]}), table.uri, mode="overwrite")
    assert table.at(1).to_table()["number"].to_pylist() == [1]
    dataset.cleanup_old_versions(older_than=timedelta(0))
    with pytest.raises(TableError, match=r"version 1 is gone; .*, or its old versions were cleaned up"):
        table.at(1)


def test_a_table_that_is_not_there_is_missed_by_the_names_of_those_that_are(tmp_path: Path) -> None:
    for name in ("a", "a__failures", "b"):
        (tmp_path / "lake" / f"{name}.lance").mkdir(parents=True)
    with pytest.raises(UserError, match=r"c\.lance \(tables there: a, b\); `pixlake embed"):
        Table.of(f"{tmp_path}/lake/c").latest()
    with pytest.raises(UserError, match=r"lake\.lance; it is a folder of tables: .* such as .*lake/a$"):
        Table.of(f"{tmp_path}/lake").latest()


def test_a_table_that_cannot_be_opened_is_told_without_sources_and_with_what_to_do(tmp_path: Path) -> None:
    versions = tmp_path / "t.lance/_versions"
    versions.mkdir(parents=True)
    (versions / "1.manifest").write_text("no manifest")
    with pytest.raises(OSError, match=r"t\.lance: cannot be opened: .*; bring its files back, or") as told:
        open_dataset(str(tmp_path / "t.lance"))
    assert ".rs:" not in str(told.value)
    assert "LanceError" not in str(told.value)
