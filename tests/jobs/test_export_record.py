"""The record of an export lies beside its folder, is believed for its own files alone, and is found where it was."""

import json
import shutil
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.spaced_table import export, make, take_in
from operators.base.errors import UserError

ROWS, DIM = 230, 8
HALVES = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype("f2")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("record"), HALVES)


def as_before_the_record_moved(out: Path) -> None:
    """What Pixlake wrote up to 2026-11-28."""
    record = json.loads(Path(f"{out}.export.json").read_text())
    del record["request"]["dtype"]
    (out / "_export.json").write_text(json.dumps(record))
    Path(f"{out}.export.json").unlink()


@pytest.mark.parametrize("output_format", ["parquet", "npy"])
def test_an_export_that_has_its_record_inside_goes_on_and_is_whole(
    table: str, tmp_path: Path, output_format: str
) -> None:
    out = tmp_path / "out"
    export(table, out, format=output_format, rows_per_file=100)
    as_before_the_record_moved(out)
    for lost in out.rglob("*_0001.*" if output_format == "npy" else "part-00001.parquet"):
        lost.unlink()
    done = export(table, out, format=output_format, rows_per_file=100)
    assert (done.written_now, done.files) == (1, 3)
    assert not Path(f"{out}.export.json").exists(), "one record is enough"
    with pytest.raises(UserError, match=r'dtype: there null, asked for "float32"'):
        export(table, out, format=output_format, rows_per_file=100, dtype="float32")


@pytest.mark.parametrize(("dtype", "inside"), [(None, False), ("float32", False), (None, True)])
def test_vectors_come_back_bit_for_bit_in_their_own_space(
    table: str, tmp_path: Path, dtype: str | None, inside: bool
) -> None:
    out, again = tmp_path / "out", str(tmp_path / "lake" / "again")
    export(table, out, format="npy", rows_per_file=100, dtype=dtype)
    if inside:
        as_before_the_record_moved(out)
    assert np.load(out / "img_emb" / "img_emb_0000.npy").dtype == (dtype or "float16")
    assert take_in(out, again).vectors == ROWS
    there, here = (lance.dataset(f"{each}.lance").to_table() for each in (table, again))
    assert here.schema.field("vector").equals(there.schema.field("vector"), check_metadata=True)
    order = {name: row for row, name in enumerate(here["id"].to_pylist())}
    bits = np.stack(here["vector"].to_numpy())[[order[f"id-{row}"] for row in range(ROWS)]]
    assert np.array_equal(bits.view("u2"), HALVES.view("u2"))


def test_float32_is_for_float_columns_and_keeps_every_number(table: str, tmp_path: Path) -> None:
    export(table, tmp_path / "out", dtype="float32")
    rows = pq.read_table(tmp_path / "out")
    assert rows.schema.field("vector").type == pa.list_(pa.float32(), DIM)
    assert np.array_equal(np.stack(rows["vector"].to_numpy()), HALVES.astype("f4"))
    about = json.loads((tmp_path / "out.export.json").read_text())["vectors"]["vector"]
    assert about["type"] == "fixed_size_list<item: halffloat>[8]"
    assert about["written_as"] == "float32"
    with pytest.raises(UserError, match=r"dtype"):
        export(table, tmp_path / "other", dtype="float64")


def test_the_record_of_a_folder_that_was_removed_is_no_hindrance(tmp_path: Path) -> None:
    table, out = make(tmp_path, HALVES[:50]), tmp_path / "out"
    first = export(table, out)
    make(tmp_path, HALVES[50:90])
    shutil.rmtree(out)
    again = export(table, out)
    assert (again.rows, again.version) == (90, first.version + 1)
    shutil.rmtree(out)
    assert export(table, out, format="npy").rows == 90


def test_an_empty_folder_does_not_go_on_with_an_older_version(tmp_path: Path) -> None:
    table, out = make(tmp_path, HALVES[:50]), tmp_path / "out"
    first = export(table, out)
    (out / "part-00000.parquet").unlink()
    assert export(table, out).version == first.version
    (out / "part-00000.parquet").unlink()
    make(tmp_path, HALVES[50:90])
    says = rf"version: there {first.version}, and the table is at {first.version + 1}\n.*take .*/out\.export\.json away"
    with pytest.raises(UserError, match=says):
        export(table, out)
    Path(f"{out}.export.json").unlink()
    assert export(table, out).rows == 90


def test_a_record_is_not_believed_of_vectors_that_came_into_the_folder_later(table: str, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    export(table, out, format="npy")
    shutil.rmtree(out)
    for folder in ("img_emb", "metadata"):
        (out / folder).mkdir(parents=True)
    np.save(out / "img_emb" / "img_emb_0.npy", HALVES)
    pq.write_table(
        pa.table({"image_path": [f"/{n}.jpg" for n in range(ROWS)]}), out / "metadata" / "metadata_0.parquet"
    )
    with pytest.raises(
        UserError, match=r"metadata_0\.parquet: is no file of the export that .*out\.export\.json tells"
    ):
        take_in(out, str(tmp_path / "lake" / "x"))
    export(table, other, format="npy", where="id != 'id-3'")
    shutil.copy(f"{out}.export.json", f"{other}.export.json")
    with pytest.raises(UserError, match=r"metadata_0000\.parquet: is no file of the export"):
        take_in(other, str(tmp_path / "lake" / "x"))


def test_a_folder_without_its_record_says_where_it_belongs(table: str, tmp_path: Path) -> None:
    export(table, tmp_path / "out", format="npy")
    (tmp_path / "out").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"An export of Pixlake says it in .*/moved\.export\.json"):
        take_in(tmp_path / "moved", str(tmp_path / "lake" / "x"))
