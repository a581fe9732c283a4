"""Columns in the names of folders. pyarrow writes the folders, and its own reader says what is in them."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pytest

from made.manifests import manifest_of, rows_of
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.columns.hive import hive_values
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError
from pipelines.sources.content_digest import content_digest

ROWS = pa.table(
    {
        "uri": [f"s3://b/{number}" for number in range(6)],
        "n": [0, 1, 2, 3, 4, 5],
        "dt": ["2026-11-28", "2026-11-29", None, "a b/c:d=e", "2026-11-28", "é%20"],
        "shop": ["x", "x", "y", "y", "y", "x"],
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    flavour = pa.dataset.partitioning(pa.schema([("dt", pa.string()), ("shop", pa.string())]), flavor="hive")
    pa.dataset.write_dataset(ROWS, tmp_path / "p", format="parquet", partitioning=flavour)
    return tmp_path / "p"


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Manifest]:
    def open_it(uri: Path | str, **options: Any) -> Manifest:
        return manifest_of(SourceConfig(uri=str(uri), **options), NO_OPTIONS, str(tmp_path / "work"))

    return open_it


def test_columns_of_folders_are_kept_as_text(folder: Path, opened: Callable[..., Manifest]) -> None:
    rows = sorted(rows_of(opened(folder, keep=("shop", "n", "dt"), rename={"dt": "day"})), key=lambda row: row["uri"])
    assert [{"uri": r["uri"], "n": r["n"], "dt": r["day"], "shop": r["shop"]} for r in rows] == ROWS.to_pylist()


def test_pyarrow_reads_the_same_of_the_folders(folder: Path) -> None:
    read = pa.dataset.dataset(folder, partitioning=pa.dataset.partitioning(flavor="hive"))
    for fragment in read.get_fragments():
        expected = pa.dataset.get_partition_keys(fragment.partition_expression)
        assert {name: value for name, value in hive_values(fragment.path).items() if name in expected} == expected


def test_csv_and_json_lines_have_them_too(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    for day in ("1", "2"):
        (tmp_path / f"c/dt={day}").mkdir(parents=True)
        (tmp_path / f"j/dt={day}").mkdir(parents=True)
        (tmp_path / f"c/dt={day}/m.csv.gz").write_bytes(gzip.compress(f"n,uri,m\n7,s3://b/{day},8\n".encode()))
        (tmp_path / f"j/dt={day}/m.jsonl").write_text(f'{{"uri": "s3://b/{day}", "n": 7, "m": 8}}\n')
    for source in ("c", "j"):
        rows = sorted(rows_of(opened(tmp_path / source, keep=("n", "dt", "m"))), key=lambda row: row["uri"])
        assert [(row["n"], row["dt"], row["m"]) for row in rows] == [("7", "1", "8"), ("7", "2", "8")]


def test_a_column_of_the_file_itself_comes_first(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    (tmp_path / "dt=1").mkdir()
    pa.parquet.write_table(pa.table({"uri": ["s3://b/1"], "dt": [5]}), tmp_path / "dt=1/a.parquet")
    assert rows_of(opened(tmp_path / "dt=1", keep=("dt",)))[0]["dt"] == 5


def test_a_file_outside_such_folders_is_refused(folder: Path, opened: Callable[..., Manifest]) -> None:
    pa.parquet.write_table(pa.table({"uri": ["s3://b/1"], "n": [5]}), folder / "z.parquet")
    with pytest.raises(SourceError, match=r"z\.parquet: lies in no folder dt=…, which says the column 'dt' of .*"):
        opened(folder, keep=("dt",))


def test_the_folders_are_part_of_what_a_manifest_says(tmp_path: Path, opened: Callable[..., Manifest]) -> None:
    found = []
    for day in ("1", "2"):
        (tmp_path / f"{day}/dt={day}").mkdir(parents=True)
        pa.parquet.write_table(pa.table({"uri": ["s3://b/1"]}), tmp_path / f"{day}/dt={day}/a.parquet")
        (tmp_path / f"{day}/dt={day}").rename(tmp_path / f"dt={day}")
        manifest = opened(tmp_path / f"dt={day}", keep=("dt",))
        found.append(content_digest(manifest, NO_OPTIONS))
    assert len(set(found)) == 2
