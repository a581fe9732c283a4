"""What is found of real sources and the tables that were made of them, and when nothing is to be believed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import embed
from made.solid_images import png_of
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.ledger.takedowns import record_takedowns, takedown_records
from pipelines.manifests.manifest import SourceConfig, SourceError
from pipelines.refresh.changes.find import DiffOptions, find_changes
from pipelines.table.errors import RefusedError
from pipelines.table.table import Table

Rows = dict[str, list[dict[str, Any]]]


def embedded(folder: Path, source: dict[str, Any], **more: Any) -> str:
    table = f"{folder}/lake/photos"
    base = {"source": source, "table": table, "model": {"name": "null"}, "cluster": {"executor": "local"}, **more}
    assert embed.run(embed.load(base=base)).status == "complete"
    return table


def found(table: str, source: dict[str, Any], storage: StorageOptions = NO_OPTIONS, **more: Any) -> Rows:
    """State -> its rows; None instead of rows that are counted alone."""
    with find_changes(Table.of(table, storage), SourceConfig(**source), storage, DiffOptions(**more)) as changes:
        rows = {state: [row for b in changes.rows(state) for row in b.to_pylist()] for state in changes.counts}
        for state, of_state in rows.items():
            assert len(of_state) == changes.counts[state] or state in ("unchanged", "failed", "taken_down")
            assert all(row["change.state"] == state for row in of_state)
        return {state: rows[state] or [{}] * count for state, count in changes.counts.items() if count}


def counts(rows: Rows) -> dict[str, int]:
    return {state: len(of_state) for state, of_state in rows.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty images and a file that is none."""
    source = tmp_path / "in"
    source.mkdir()
    for number in range(20):
        (source / f"{number:02}.png").write_bytes(png_of(number))
    (source / "broken.png").write_bytes(b"no image")
    return source


@pytest.fixture(params=["at once", "in parts"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sides as they are, and as if they were large: cut into parts on disk."""
    if request.param == "in parts":
        for limit in ("_BATCH_ROWS", "_PIECE_ROWS"):
            monkeypatch.setattr(f"pipelines.scan.spill.{limit}", 1)


@pytest.mark.usefixtures("size")
def test_a_folder_night_by_night(tmp_path: Path, folder: Path) -> None:
    source = {"uri": str(folder)}
    table = embedded(tmp_path, source)
    assert counts(found(table, source)) == {"unchanged": 20, "failed": 1}
    (folder / "broken.png").write_bytes(b"no image either")
    assert counts(found(table, source)) == {"unchanged": 20, "retried": 1}
    (folder / "broken.png").unlink()
    (folder / "03.png").write_bytes(png_of(103))
    (folder / "sub").mkdir()
    os.rename(folder / "04.png", folder / "sub" / "04.png")
    (folder / "new.png").write_bytes(png_of(200))
    (folder / "05.png").unlink()
    rows = found(table, source)
    assert counts(rows) == {"unchanged": 17, "changed": 1, "moved": 1, "new": 1, "deleted": 2}
    assert (rows["changed"][0]["old.row"], rows["changed"][0]["old.in"]) == (3, "vectors")
    assert rows["moved"][0]["uri"] == str(folder / "sub" / "04.png")
    assert rows["moved"][0]["old.uri"] == str(folder / "04.png")
    assert {(row["old.in"], row["old.row"]) for row in rows["deleted"]} == {("vectors", 5), ("failures", 20)}


def test_a_rewrite_of_a_local_file_is_seen_by_its_time(tmp_path: Path, folder: Path) -> None:
    source = {"uri": str(folder)}
    table = embedded(tmp_path, source)
    (folder / "03.png").write_bytes(png_of(3))
    assert counts(found(table, source)) == {"unchanged": 19, "changed": 1, "failed": 1}


def test_captions_beside_images_are_carried(tmp_path: Path, folder: Path) -> None:
    for number in range(20):
        (folder / f"{number:02}.txt").write_text(f"picture {number}")
    source = {"uri": str(folder), "keep": ["txt"], "rename": {"txt": "caption"}}
    table = embedded(tmp_path, source)
    (folder / "07.txt").write_text("another")
    rows = found(table, source)
    assert counts(rows) == {"unchanged": 19, "touched": 1, "failed": 1}
    assert rows["touched"][0]["caption"] == "another"


def test_more_than_the_share_is_not_taken_for_deleted(tmp_path: Path, folder: Path) -> None:
    source = {"uri": str(folder)}
    table = embedded(tmp_path, source)
    for number in range(3):
        (folder / f"{number:02}.png").unlink()
    with pytest.raises(RefusedError, match=r"3 of 20 images \(15.0%\).*--max-deleted 0.1.*18 images now.*0.15 lets"):
        found(table, source)
    assert counts(found(table, source, max_deleted=0.15))["deleted"] == 3
    shutil.rmtree(folder)
    with pytest.raises(SourceError, match="no file or folder"):
        found(table, source)
    folder.mkdir()
    with pytest.raises(RefusedError, match=r"20 of 20 images.*the source is empty.*--max-deleted 1 lets them go"):
        found(table, source)
    (folder / "Thumbs.db").write_bytes(b"no image")
    assert counts(found(table, source, max_deleted=1)) == {"deleted": 21}


def test_a_folder_that_cannot_be_listed_ends_the_listing(tmp_path: Path, folder: Path) -> None:
    """As one that is denied does, which nobody is to root: its path is longer than any may be."""
    source = {"uri": str(folder)}
    table = embedded(tmp_path, source)
    above = os.open(folder, os.O_RDONLY)
    for name in ["15", *["x" * 250] * 17]:
        os.mkdir(name, dir_fd=above)
        above, before = os.open(name, os.O_RDONLY, dir_fd=above), above
        os.close(before)
    os.close(above)
    with pytest.raises(SourceError, match=r"ended early: .*too long.*nothing was changed"):
        found(table, source)


Write = Callable[[Path, dict[str, list[Any]]], str]


def parquet(folder: Path, columns: dict[str, list[Any]]) -> str:
    pq.write_table(pa.table(columns), folder / "m.parquet")
    return str(folder / "m.parquet")


def csv(folder: Path, columns: dict[str, list[Any]]) -> str:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "m.csv")


def jsonl(folder: Path, columns: dict[str, list[Any]]) -> str:
    import json

    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "m.jsonl")


@pytest.mark.parametrize("write", [parquet, csv, jsonl])
def test_a_manifest_by_its_version_columns(tmp_path: Path, folder: Path, write: Write) -> None:
    names = [f"{number:02}" for number in range(12)]
    columns: dict[str, list[Any]] = {
        "key": names,
        "uri": [f"in/{name}.png" for name in names],
        "etag": [f"e{name}" for name in names],
        "label": ["cat"] * 12,
    }
    uri = write(tmp_path, columns)
    source = {"uri": uri, "id_column": "key", "version_columns": ["etag"], "keep": ["label"]}
    table = embedded(tmp_path, source)
    assert "source_etag" in lance.dataset(f"{table}.lance").schema.names
    assert counts(found(table, source)) == {"unchanged": 12}
    # Another version, another label, the same object elsewhere, and under another id.
    columns["etag"][1] = "other"
    columns["label"][2] = "dog"
    shutil.copy(folder / "03.png", folder / "13.png")
    columns["uri"][3] = "in/13.png"
    columns["key"][4] = "99"
    write(tmp_path, {name: values[:11] for name, values in columns.items()})
    rows = found(table, source)
    assert counts(rows) == {"unchanged": 7, "changed": 1, "touched": 1, "moved": 2, "deleted": 1}
    assert rows["changed"][0]["id"] == "01"
    assert (rows["touched"][0]["id"], rows["touched"][0]["label"]) == ("02", "dog")
    assert {(row["old.id"], row["id"]) for row in rows["moved"]} == {("03", "03"), ("04", "99")}
    assert rows["deleted"][0]["old.id"] == "11"


def test_a_manifest_without_version_columns(tmp_path: Path, folder: Path) -> None:
    columns: dict[str, list[Any]] = {"key": ["a", "b"], "uri": ["in/00.png", "in/01.png"]}
    source = {"uri": parquet(tmp_path, columns), "id_column": "key"}
    table = embedded(tmp_path, source)
    (folder / "00.png").write_bytes(png_of(50))
    assert counts(found(table, source)) == {"unchanged": 2}
    columns["uri"][1] = "in/02.png"
    parquet(tmp_path, columns)
    assert counts(found(table, source)) == {"unchanged": 1, "changed": 1}


def test_a_table_that_lacks_the_version_columns_has_each_image_looked_at_once(tmp_path: Path, folder: Path) -> None:
    columns: dict[str, list[Any]] = {"key": ["a", "b"], "uri": ["in/00.png", "in/01.png"], "at": ["1", "2"]}
    source = {"uri": parquet(tmp_path, columns), "id_column": "key"}
    table = embedded(tmp_path, source)
    rows = found(table, {**source, "version_columns": ["at"]})
    assert counts(rows) == {"changed": 2}
    assert {row["change.version"] for row in rows["changed"]} == {"1", "2"}


def test_rows_without_an_image_stay_failures(tmp_path: Path, folder: Path) -> None:
    source = {"uri": str(tmp_path / "m.txt")}
    Path(source["uri"]).write_text("in/00.png\nin/missing.png\nftp:\n data:xx\nin/broken.png\n")
    table = embedded(tmp_path, source)
    # The file that is not there may be by now, and of which version the broken one was the manifest does not say.
    assert counts(found(table, source)) == {"unchanged": 1, "failed": 1, "retried": 3}


def test_ids_that_are_there_twice_are_said(tmp_path: Path, folder: Path) -> None:
    columns: dict[str, list[Any]] = {"key": ["a", "a", "b"], "uri": ["in/00.png", "in/01.png", "in/02.png"]}
    source = {"uri": parquet(tmp_path, columns), "id_column": "key"}
    table = embedded(tmp_path, source)
    with find_changes(Table.of(table), SourceConfig(**source), NO_OPTIONS) as changes:
        assert (changes.counts["unchanged"], changes.nothing, changes.live) == (3, True, 3)
        assert changes.notices == (
            "1 id is more than once in the source: each of their rows is an image",
            "1 id has more than one row in the table",
        )
    (folder / "extra.png").write_bytes(png_of(77))
    parquet(tmp_path, {"key": ["a", "b"], "uri": ["in/01.png", "in/extra.png"]})
    rows = found(table, source, max_deleted=1)
    assert counts(rows) == {"unchanged": 1, "changed": 1, "repeated": 1}
    assert rows["repeated"][0]["old.row"] == 0


def test_copies_of_rows_that_another_tool_has_added_are_said(tmp_path: Path, folder: Path) -> None:
    table = embedded(tmp_path, {"uri": str(folder)})
    rows = Table.of(table).latest()
    lance.write_dataset(rows.to_table(limit=2), rows.uri, mode="append")
    with find_changes(Table.of(table), SourceConfig(uri=str(folder)), NO_OPTIONS) as changes:
        assert (changes.counts["unchanged"], changes.nothing) == (20, True)
        [notice] = changes.notices
        assert notice.startswith("2 rows of the table are copies of others")


def test_other_sources_are_not_looked_at(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.png").write_bytes(png_of(90))
    table = embedded(tmp_path, {"uri": str(folder)})
    embedded(tmp_path, {"uri": str(other)})
    assert counts(found(table, {"uri": str(other)})) == {"unchanged": 1}
    assert counts(found(table, {"uri": str(folder)})) == {"unchanged": 20, "failed": 1}
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    with pytest.raises(RefusedError, match=r"nothing of .*elsewhere is in it.*sources of the table"):
        found(table, {"uri": str(elsewhere)})
    # The same images in another place: all moved, since a copy that keeps the times says so.
    rows = found(table, {"uri": str(elsewhere)}, registered=str(folder), max_deleted=1)
    assert counts(rows) == {"new": 1, "moved": 20, "deleted": 1}


@pytest.mark.usefixtures("size")
def test_taken_down_images_are_left_out(tmp_path: Path, folder: Path) -> None:
    source = {"uri": str(folder)}
    (folder / "broken.png").unlink()
    table = embedded(tmp_path, source)
    path = str(folder / "new.png")
    Path(path).write_bytes(png_of(80))
    (new,) = found(table, source)["new"]
    record_takedowns(Table.of(table), takedown_records([new["id"]]))
    assert counts(found(table, source)) == {"unchanged": 20, "taken_down": 1}


@pytest.mark.parametrize("layout", ["rows", "multivector"])
def test_an_image_of_many_regions_is_one(tmp_path: Path, folder: Path, layout: str) -> None:
    source = {"uri": str(folder)}
    (folder / "broken.png").unlink()
    regions = {"kind": "grid", "rows": 2, "columns": 2, "layout": layout}
    table = embedded(tmp_path, source, regions=regions)
    rows = lance.dataset(f"{table}.lance").count_rows()
    assert rows > 20 if layout == "rows" else rows == 20
    (folder / "03.png").write_bytes(png_of(103))
    with find_changes(Table.of(table), SourceConfig(**source), NO_OPTIONS) as changes:
        assert ({k: v for k, v in changes.counts.items() if v}, changes.live) == ({"unchanged": 19, "changed": 1}, 20)


@pytest.mark.parametrize(("end", "column"), [("", "etag"), ("__failures", "uri")])
def test_a_column_that_another_tool_has_renamed_is_told(tmp_path: Path, folder: Path, end: str, column: str) -> None:
    source = {"uri": str(folder)}
    table = embedded(tmp_path, source)
    lance.dataset(f"{table}{end}.lance").alter_columns({"path": column, "name": "mine"})
    with pytest.raises(RefusedError, match=f"{end}.lance: not there is {column}"):
        found(table, source)
    lance.dataset(f"{table}{end}.lance").alter_columns({"path": "mine", "name": column})
    assert counts(found(table, source)) == {"unchanged": 20, "failed": 1}


def test_marked_rows_return_or_stay_away(tmp_path: Path, folder: Path) -> None:
    source = {"uri": str(folder)}
    (folder / "broken.png").unlink()
    table = embedded(tmp_path, source)
    dataset = lance.dataset(f"{table}.lance")
    dataset.add_columns(pa.schema([pa.field("deleted_at", pa.timestamp("us", tz="UTC"))]))
    dataset.update({"deleted_at": "now()"}, where="`row` < 3")
    (folder / "01.png").unlink()
    (folder / "02.png").write_bytes(png_of(102))
    rows = found(table, source)
    assert counts(rows) == {"unchanged": 17, "returned": 1, "gone": 1, "changed": 1}
    assert (rows["returned"][0]["old.row"], rows["gone"][0]["old.row"], rows["changed"][0]["old.row"]) == (0, 1, 2)


def test_sources_that_cannot_be_compared_say_why(tmp_path: Path, folder: Path) -> None:
    table = embedded(tmp_path, {"uri": str(folder)})
    shutil.make_archive(str(tmp_path / "images"), "tar", folder)
    pq.write_table(pa.table({"image": [{"bytes": png_of(1), "path": "a"}]}), tmp_path / "held.parquet")
    for source, why in (
        ({"uri": str(tmp_path / "images.tar")}, "tars"),
        ({"uri": str(tmp_path / "held.parquet")}, "images in it"),
        ({"uri": str(folder), "limit": 3}, "source.limit is set"),
        ({"uri": str(folder), "version_columns": ["etag"]}, "a listing says itself"),
    ):
        with pytest.raises(SourceError, match=why):
            found(table, source)


def test_a_version_is_no_list(tmp_path: Path, folder: Path) -> None:
    table = embedded(tmp_path, {"uri": str(folder)})
    uri = parquet(tmp_path, {"uri": ["in/00.png"], "at": [{"a": 1}]})
    with pytest.raises(SourceError, match="version column 'at' is struct"):
        found(table, {"uri": uri, "version_columns": ["at"]}, registered=str(folder))


def test_kept_columns_may_be_called_as_those_of_the_diff(tmp_path: Path, folder: Path) -> None:
    names = ["state", "position", "key", "deleted_at", "source_version", "old_id"]
    columns: dict[str, list[Any]] = {"uri": ["in/00.png", "in/01.png"], **{name: ["x", "y"] for name in names}}
    source = {"uri": parquet(tmp_path, columns), "keep": names}
    table = embedded(tmp_path, source)
    columns["state"][1] = "z"
    parquet(tmp_path, columns)
    rows = found(table, source)
    assert counts(rows) == {"unchanged": 1, "touched": 1}
    assert [rows["touched"][0][name] for name in names] == ["z", "y", "y", "y", "y", "y"]
