"""Parquet files with images in them: which column, which shards, which rows, and how much is read for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from made.parquet_images import STRUCT, write_images
from made.solid_images import png_of
from operators.base.columns import IMAGE_BYTES
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests import parquet
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError
from pipelines.sources.image_bytes import ImageSource
from pipelines.sources.sample_ids import sample_ids
from pipelines.sources.work import shard_work


def opened(uri: str | Path, **options: Any) -> Manifest:
    return manifest_of(SourceConfig(uri=str(uri), **options), NO_OPTIONS, "unused")


def rows_of(manifest: Manifest, wanted: range | None = None) -> list[dict[str, Any]]:
    source, rows = ImageSource(columns=manifest.columns), []
    for shard in manifest.shards:
        numbers = np.arange(shard.first_row, shard.first_row + shard.num_rows)
        work = shard_work(shard, shard.number, np.isin(numbers, numbers if wanted is None else wanted))
        for table in source.read(work, 8192) if work else ():
            assert table.schema.equals(source.schema())
            rows += table.to_pylist()
    return rows


@pytest.mark.parametrize("plain", [False, True])
def test_each_row_comes_with_its_bytes(tmp_path: Path, plain: bool) -> None:
    write_images(tmp_path / "in/0.parquet", range(25), plain=plain)
    expected = write_images(tmp_path / "in/1.parquet", range(25, 40), plain=plain)
    named = {"bytes_column": "image"} if plain else {}
    manifest = opened(tmp_path / "in", id_column="number", keep=("label",), **named)
    rows = rows_of(manifest)
    assert [row["image_bytes"] for row in rows] == [png_of(number) for number in range(40)]
    assert [row["uri"] for row in rows[25:]] == [each.uri for each in expected]
    assert [(row["id"], row["label"]) for row in rows] == [(str(n), f"label {n}") for n in range(40)]
    status = (tmp_path / "in/1.parquet").stat()
    assert {row["etag"] for row in rows[25:]} == {f"{status.st_mtime_ns:x}-{status.st_size:x}"}
    assert manifest.notices == ("column 'image' holds the images' bytes: none is fetched",)


def test_wanted_rows_come_alone(tmp_path: Path) -> None:
    write_images(tmp_path / "a.parquet", range(40))
    rows = rows_of(opened(tmp_path / "a.parquet"), wanted=range(13, 31, 6))
    assert [(row["row"], row["image_bytes"]) for row in rows] == [(n, png_of(n)) for n in (13, 19, 25)]


def test_a_row_may_lack_its_image(tmp_path: Path) -> None:
    image = pa.array([None, {"bytes": None, "path": "x.png"}, {"bytes": b"x", "path": None}], STRUCT)
    pq.write_table(pa.table({"image": image}), tmp_path / "a.parquet")
    assert [row["image_bytes"] for row in rows_of(opened(tmp_path / "a.parquet"))] == [None, None, b"x"]


def test_shards_are_bounded_in_bytes_and_know_where_they_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.manifests.open.SHARD_BYTES", 2500)
    expected = write_images(tmp_path / "a.parquet", range(95))
    footer = pq.read_metadata(tmp_path / "a.parquet")
    manifest = opened(tmp_path / "a.parquet")
    assert len(manifest.shards) > 3
    for shard in manifest.shards:
        held = sum(footer.row_group(group).total_byte_size for group in shard.row_groups)
        assert held <= 2500 or len(shard.row_groups) == 1
    assert [row["uri"] for row in rows_of(manifest)] == [each.uri for each in expected]
    tasks = ImageSource(columns=manifest.columns).read_tasks([work_of(shard) for shard in manifest.shards])
    assert [len(task) for task in tasks] == [1] * len(manifest.shards)


def work_of(shard: Any) -> Any:
    return shard_work(shard, shard.number, np.ones(shard.num_rows, bool))


def test_reads_are_few_and_counted(tmp_path: Path) -> None:
    write_images(tmp_path / "a.parquet", range(2000), group_rows=2000)
    rows = rows_of(opened(tmp_path / "a.parquet", id_column="number"))
    assert 0 < sum(row["requests"] for row in rows) <= 0.01 * len(rows)


def test_ids_are_sampled_without_reading_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "a.parquet", range(40))
    manifest = opened(tmp_path / "a.parquet", id_column="number", keep=("image",))
    source = ImageSource(columns=manifest.columns)
    assert source.ids_only().schema().names == ["shard", "row", "id", "uri", *source.schema().names[-5:]]
    assert IMAGE_BYTES.name in source.schema().names
    assert sample_ids(source, manifest.shards, 40).to_pylist() == [str(number) for number in range(40)]


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_which_column_is_taken(tmp_path: Path) -> None:
    struct = pa.array([{"bytes": b"x", "path": "x"}], STRUCT)
    beside = opened(write(tmp_path / "a.parquet", uri=["x.png"], image=struct))
    assert (beside.columns.uri, beside.columns.image) == ("uri", None)
    assert "source.bytes_column=image takes them from there" in beside.notices[0]
    named = opened(tmp_path / "a.parquet", bytes_column="image")
    assert (named.columns.uri, named.columns.image is not None, named.digest == beside.digest) == (None, True, False)
    both = opened(tmp_path / "a.parquet", bytes_column="image", uri_column="uri")
    assert rows_of(both)[0]["uri"] == f"{tmp_path}/x.png"
    with pytest.raises(SourceError, match="no column uri, url, image_path"):
        opened(write(tmp_path / "b.parquet", image=struct, mask=struct))
    with pytest.raises(SourceError, match="bytes_column 'n' is int64; images' bytes are binary"):
        opened(write(tmp_path / "c.parquet", n=[1]), bytes_column="n")
    with pytest.raises(SourceError, match=r"no column 'imag' \(bytes_column\).*did you mean 'image'"):
        opened(tmp_path / "b.parquet", bytes_column="imag")


def test_columns_of_bytes_are_named_where_none_is_taken_by_itself(tmp_path: Path) -> None:
    struct, jpg = pa.array([{"bytes": b"x", "path": "x"}], STRUCT), pa.array([b"x"], pa.large_binary())
    for columns, told in (
        ({"key": ["a"], "jpg": jpg}, r"images' bytes \(jpg\): --set source\.bytes_column=jpg$"),
        ({"image": struct, "mask": struct}, r"images' bytes \(image, mask\): --set source\.bytes_column=image$"),
        ({"key": ["a"]}, r"--set source\.uri_column=COLUMN$"),
    ):
        with pytest.raises(SourceError, match=told):
            opened(write(tmp_path / "a.parquet", **columns))
    with pytest.raises(SourceError, match="uri_column") as named:
        opened(write(tmp_path / "a.parquet", jpg=jpg), uri_column="uri")
    assert "bytes_column" not in str(named.value)


def test_a_bytes_column_of_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("uri,image\na.png,x\n")
    with pytest.raises(SourceError, match="bytes_column is set, and names a column of Parquet files"):
        opened(tmp_path / "a.csv", bytes_column="image")


def test_row_groups_of_files_without_images_are_joined_by_rows_alone() -> None:
    footer = parquet.Footer(pa.schema([]), (5, 5), (1 << 40, 1 << 40), {}, frozenset())
    assert [shard.num_rows for shard in parquet.plan_shards([_file()], [footer])] == [10]
    assert [s.file_row for s in parquet.plan_shards([_file()], [footer], max_bytes=1)] == [0, 5]


def _file() -> Any:
    from pipelines.manifests.files import SourceFile

    return SourceFile("a.parquet", 1, "v")
