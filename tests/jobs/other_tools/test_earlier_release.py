"""A table that an earlier release made and indexed, hurt by plain lancedb, is read right and mended by one command.

The archive is made by `earlier_release/make_hurt_table.py`, which also says what Lance 14 answers on it.
"""

import tarfile
from pathlib import Path
from typing import Any

import lance
import lancedb
import pyarrow.parquet as pq
import pytest

from jobs.describe import DescribeConfig
from jobs.describe import as_text as described_as_text
from jobs.describe import run as describe
from jobs.export import ExportConfig
from jobs.export import run as export
from jobs.index import IndexConfig, as_text, run
from jobs.search import SearchConfig
from jobs.search import run as search
from operators.storage.stores import NO_OPTIONS
from pipelines.filter_index.stored import passed_over

ARCHIVE = Path(__file__).parent / "earlier_release" / "hurt.tar.xz"
CHANGED = 16
"""Rows that plain lancedb gave the number 1000; they had 0 to 16."""


@pytest.fixture
def table(tmp_path: Path) -> str:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return str(tmp_path / "lake" / "photos")


def dataset_of(table: str) -> "lance.LanceDataset":
    return lance.dataset(f"{table}.lance")


def index(table: str, **options: Any) -> Any:
    return run(IndexConfig(table=table, queries=20, cluster={"executor": "local"}, **options))


def test_its_lookups_and_filters_are_right_before_it_is_mended(table: str, tmp_path: Path) -> None:
    assert dataset_of(table).count_rows("number < 17") == CHANGED, "a reader that trusts the index finds old values"
    assert {each.name for each in passed_over(dataset_of(table), NO_OPTIONS)} == {"id_idx", "uri_idx"}
    for name in ("i0", "i16", "i30", "i49"):
        assert search(SearchConfig(table=table, id=name, k=1)).results[0]["id"] == name
    assert search(SearchConfig(table=table, id="i30", where="number < 17")).results == []
    assert len(search(SearchConfig(table=table, id="i30", where="number >= 1000", k=50)).results) == CHANGED
    assert export(ExportConfig(table=table, out=str(tmp_path / "old"), where="number < 17")).rows == 0
    export(ExportConfig(table=table, out=str(tmp_path / "new"), where="number >= 1000"))
    assert pq.read_table(tmp_path / "new")["number"].to_pylist() == [1000] * CHANGED


def test_describe_names_the_indexes_in_doubt_and_the_command(table: str) -> None:
    described = describe(DescribeConfig(table=table))
    assert set(described.doubted_indexes) == {"id_idx", "uri_idx", "even_idx", "number_idx"}
    lines = [line for line in described_as_text(described).splitlines() if line.startswith("in doubt")]
    assert len(lines) == 4
    assert all(f"pixlake index {table} --update" in line for line in lines)
    assert "id_idx on id: a newer Lance wrote it (format 1)" in "\n".join(lines)


@pytest.mark.parametrize("options", [{"update": True}, {}], ids=["update", "plain"])
def test_one_command_mends_it_and_says_so(table: str, options: dict[str, Any]) -> None:
    result = index(table, **options)
    assert set(result.renewed) == {"id", "uri", "even", "number"}
    said = as_text(result)
    assert "made anew  id: id_idx was made by an earlier release of Pixlake in a format that Lance 13" in said
    assert "made anew  number: number_idx was made by an earlier release of Pixlake" in said
    dataset = dataset_of(table)
    assert passed_over(dataset, NO_OPTIONS) == []
    names = {each.name for each in dataset.describe_indices() if each.field_names != ["vector"]}
    assert names == {"pixlake_id", "pixlake_uri", "pixlake_even", "pixlake_number"}
    assert dataset.count_rows("number < 17") == 0
    assert dataset.count_rows("number >= 1000") == CHANGED
    assert dataset.count_rows("id = 'i30'") == 1
    plain = lancedb.connect(str(Path(table).parent)).open_table("photos")
    assert "ScalarIndexQuery" in plain.search().where("id = 'i30'").explain_plan()
    assert [row["id"] for row in plain.search().where("id = 'i30'").to_list()] == ["i30"]
    assert describe(DescribeConfig(table=table)).doubted_indexes == {}
    version = dataset.version
    again = index(table, update=True)
    assert again.renewed == {}
    assert dataset_of(table).version == version, "a second time there is nothing to do"


def test_only_what_the_earlier_release_made_is_taken_over(table: str) -> None:
    plain = lancedb.connect(str(Path(table).parent)).open_table("photos")
    plain.create_fts_index("label", name="label_idx")
    index(table, update=True)
    names = {each.name: each.index_type for each in dataset_of(table).describe_indices()}
    assert names["label_idx"] == "Inverted"
    plain.create_scalar_index("label", index_type="BITMAP", name="label2_idx")
    plain.create_scalar_index("number", index_type="BTREE", name="number_idx")
    index(table, update=True)
    names = {each.name: each.index_type for each in dataset_of(table).describe_indices()}
    assert (names["number_idx"], names["label2_idx"], names["pixlake_number"]) == ("BTree", "Bitmap", "Bitmap")
