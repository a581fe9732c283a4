"""A folder of ready vectors as a source: which rows it gives, what it refuses, and what one task reads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.vector_folders import DIM, ids_of, metadata_of, vectors_of, write_folder
from operators.base.errors import UserError
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.files import Listing
from pipelines.manifests.manifest import SourceConfig, SourceError
from pipelines.manifests.open import open_source
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.sources.vectors import VectorSource
from pipelines.sources.work import ShardWork, shard_work

ROWS = [5, 0, 3]


def opened(folder: Path, **config: object) -> VectorFolder:
    found = open_source(SourceConfig.model_validate({"uri": str(folder), **config}), NO_OPTIONS)
    assert isinstance(found, VectorFolder)
    return found


def source_of(folder: VectorFolder) -> VectorSource:
    return VectorSource(columns=folder.manifest.columns, dim=folder.dim, dtype=folder.dtype, facts=folder.facts)


def work_of(folder: VectorFolder) -> list[ShardWork]:
    made = [shard_work(shard, 7 + shard.number, np.ones(shard.num_rows, bool)) for shard in folder.manifest.shards]
    return [each for each in made if each is not None]


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_each_row_of_metadata_comes_with_its_vector(tmp_path: Path, dtype: str) -> None:
    folder = opened(write_folder(tmp_path / "v", ROWS, dtype=dtype), id_column="key", keep=["caption"])
    source = source_of(folder)
    tables = [table for work in work_of(folder) for table in source.read(work, 2)]
    assert [table.num_rows for table in tables] == [2, 2, 1, 2, 1]
    table = pa.concat_tables(tables)
    assert table.schema.equals(source.schema())
    assert table["id"].to_pylist() == [*ids_of(0, 5), *ids_of(2, 3)]
    assert table["uri"].to_pylist() == [f"/photos/{name}.jpg" for name in table["id"].to_pylist()]
    assert table["caption"].to_pylist() == [f"caption {name}" for name in table["id"].to_pylist()]
    assert list(zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True)) == [
        *((7, row) for row in range(5)),
        *((8, row) for row in range(3)),
    ]
    expected = np.concatenate([vectors_of(0, 5, dtype), vectors_of(2, 3, dtype)])
    assert np.array_equal(np.array(table["vector"].to_pylist(), dtype), expected)
    assert table["width"].null_count == len(expected), "another tool's int64 width is not ours"


def test_only_wanted_rows_come_with_their_own_vectors(tmp_path: Path) -> None:
    folder = opened(write_folder(tmp_path / "v", [50]))
    wanted = np.zeros(50, bool)
    wanted[[3, 5, 17, 49]] = True
    work = shard_work(folder.manifest.shards[0], 0, wanted)
    assert work is not None
    table = pa.concat_tables(source_of(folder).read(work, 10))
    assert table["row"].to_pylist() == [3, 5, 17, 49]
    assert np.array_equal(np.array(table["vector"].to_pylist(), "f4"), vectors_of(0, 50)[[3, 5, 17, 49]])


def test_a_task_on_a_cluster_reads_no_more_than_fits_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sources.vectors._TASK_BYTES", 20 * DIM * 4)
    folder = opened(write_folder(tmp_path / "v", [50, 8, 8]))
    source = source_of(folder)
    tasks = source.read_tasks(work_of(folder))
    assert [sum(item.num_wanted for item in task) for task in tasks] == [20, 20, 18, 8]
    rows = [
        (table["shard"][0].as_py(), row)
        for task in tasks
        for item in task
        for table in source.read(item, 1000)
        for row in table["row"].to_pylist()
    ]
    assert sorted(rows) == [(7 + shard, row) for shard, count in enumerate([50, 8, 8]) for row in range(count)]


def rows_of(folder: VectorFolder) -> list[tuple[str, list[float]]]:
    """(id, vector) of each row."""
    table = pa.concat_tables([table for work in work_of(folder) for table in source_of(folder).read(work, 100)])
    return list(zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True))


def test_files_are_paired_by_their_numbers_however_they_are_written(tmp_path: Path) -> None:
    """clip-retrieval writes `img_emb_0` to `img_emb_10` beside `metadata_0000` to `metadata_0010`: sorted by their
    names, nine of eleven pairs are wrong, and all have as many rows."""
    folder = write_folder(tmp_path / "v", [2] * 11)
    for number in range(11):
        (folder / f"img_emb/img_emb_{number:04d}.npy").rename(folder / f"img_emb/img_emb_{number}.npy")
    rows = rows_of(opened(folder, id_column="key"))
    assert {name: vector for name, vector in rows} == {
        name: list(vector)
        for number in range(11)
        for name, vector in zip(ids_of(number, 2), vectors_of(number, 2).tolist(), strict=True)
    }
    assert [name for name, _ in rows[2:6]] == [*ids_of(1, 2), *ids_of(10, 2)], "shards in the order of the npy files"


@pytest.mark.parametrize("names", [("a.npy", "b.parquet"), ("a.npy", "a.parquet"), ("v3.npy", "rows.parquet")])
def test_a_single_pair_needs_no_number_and_equal_names_need_none(tmp_path: Path, names: tuple[str, str]) -> None:
    folder = write_folder(tmp_path / "v", [2])
    (folder / "img_emb/img_emb_0000.npy").rename(folder / "img_emb" / names[0])
    (folder / "metadata/metadata_0000.parquet").rename(folder / "metadata" / names[1])
    assert [name for name, _ in rows_of(opened(folder, id_column="key"))] == ids_of(0, 2)


@pytest.mark.parametrize("empty", [np.array([]), np.zeros((0, 3)), np.zeros((0, DIM), "f2")])
def test_a_pair_without_rows_says_nothing_of_dim_type_or_columns(tmp_path: Path, empty: np.ndarray) -> None:
    """NumPy makes float64 of shape (0,) of no vectors, pandas a Parquet file without columns of no rows."""
    folder = write_folder(tmp_path / "v", [3, 3, 3], dtype="f4")
    for number in (0, 1):
        np.save(folder / "img_emb" / f"img_emb_{number:04d}.npy", empty)
    pq.write_table(pa.table({}), folder / "metadata/metadata_0000.parquet")
    pq.write_table(pa.table({"image_path": pa.nulls(0), "key": pa.nulls(0)}), folder / "metadata/metadata_0001.parquet")
    found = opened(folder, id_column="key", keep=["caption"])
    assert (found.dim, found.dtype, found.manifest.num_rows) == (DIM, "<f4", 3)
    assert [name for name, _ in rows_of(found)] == ids_of(2, 3)


def test_images_and_manifests_are_no_folder_of_vectors(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    pq.write_table(metadata_of(0, 3), tmp_path / "list.parquet")
    (tmp_path / "img_emb").mkdir()
    for uri in (tmp_path, tmp_path / "list.parquet", tmp_path / "*.jpg"):
        assert isinstance(open_source(SourceConfig(uri=str(uri)), NO_OPTIONS), Listing)
    declared = SourceConfig.model_validate({"uri": str(tmp_path), "vectors": {"model": "m"}})
    with pytest.raises(SourceError, match=r"source\.vectors is set, but .* is no folder of ready vectors"):
        open_source(declared, NO_OPTIONS)


def other_rows(folder: Path) -> None:
    pq.write_table(metadata_of(2, 4), folder / "metadata" / "metadata_0002.parquet")


def no_metadata(folder: Path) -> None:
    (folder / "metadata" / "metadata_0001.parquet").unlink()


def other_number(folder: Path) -> None:
    """clip-retrieval with one part lost on either side: by the order of names, `_0001` would be `_0003`'s."""
    (folder / "metadata" / "metadata_0001.parquet").rename(folder / "metadata" / "metadata_0003.parquet")


def number_twice(folder: Path) -> None:
    (folder / "img_emb" / "img_emb_0001.npy").rename(folder / "img_emb" / "img_emb_2.npy")


def no_number(folder: Path) -> None:
    (folder / "img_emb" / "img_emb_0001.npy").rename(folder / "img_emb" / "img_emb_b.npy")


def all_empty(folder: Path) -> None:
    for number in range(len(ROWS)):
        np.save(folder / "img_emb" / f"img_emb_{number:04d}.npy", np.array([]))


def other_dim(folder: Path) -> None:
    np.save(folder / "img_emb" / "img_emb_0002.npy", np.ones((3, DIM + 1), "f4"))


def other_dtype(folder: Path) -> None:
    np.save(folder / "img_emb" / "img_emb_0002.npy", vectors_of(2, 3, "f2"))


def codes(folder: Path) -> None:
    np.save(folder / "img_emb" / "img_emb_0000.npy", np.ones((5, DIM), np.uint8))


def big_endian(folder: Path) -> None:
    np.save(folder / "img_emb" / "img_emb_0000.npy", vectors_of(0, 5, ">f4"))


def no_uri(folder: Path) -> None:
    for number, rows in enumerate(ROWS):
        pq.write_table(
            metadata_of(number, rows).drop_columns(["image_path"]), folder / f"metadata/metadata_{number:04d}.parquet"
        )


def no_parquet(folder: Path) -> None:
    (folder / "metadata" / "metadata_0002.parquet").write_text("no")


def other_json(folder: Path) -> None:
    (folder / "_export.json").write_text("{}")


SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "rows differ": (other_rows, r"img_emb_0002\.npy has 3 rows and .*metadata_0002\.parquet 4; they must be the same"),
    "a file is missing": (
        no_metadata,
        r"img_emb_0001\.npy: no Parquet file has its number, 1, .* \(3 npy and 2 P",
    ),
    "numbers differ": (other_number, r"img_emb_0001\.npy: no Parquet file has its number, 1, and 2 numbers in all"),
    "a number twice": (number_twice, r"img_emb_2\.npy and .*img_emb_0002\.npy both have the number 2"),
    "no number": (no_number, r"img_emb_b\.npy: its name has no number"),
    "all are empty": (all_empty, r"no file in img_emb/ holds a vector"),
    "dim differs": (other_dim, r"img_emb_0000\.npy holds 6-d <f4, .*img_emb_0002\.npy 7-d <f4"),
    "dtype differs": (other_dtype, r"img_emb_0000\.npy holds 6-d <f4, .*img_emb_0002\.npy 6-d <f2"),
    "codes": (codes, r"img_emb_0000\.npy: holds \|u1; ready vectors are little-endian float16 or float32"),
    "big-endian": (big_endian, r"img_emb_0000\.npy: holds >f4"),
    "no URI": (no_uri, r"metadata_0000\.parquet: no column uri, url, image_path; columns there: key"),
    "not Parquet": (no_parquet, r"metadata_0002\.parquet: not a whole Parquet file"),
    "another _export.json": (other_json, r"_export\.json: was not written by `pixlake export`"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_files_that_do_not_belong_together_are_refused_by_name(tmp_path: Path, name: str) -> None:
    spoil, says = SPOILED[name]
    spoil(write_folder(tmp_path / "v", ROWS))
    with pytest.raises(UserError, match=says):
        opened(tmp_path / "v")


@pytest.mark.parametrize("name", ["img_emb/img_emb_0000.npy", "metadata/metadata_0000.parquet"])
def test_a_file_replaced_meanwhile_stops_the_run_and_is_another_manifest(tmp_path: Path, name: str) -> None:
    folder = opened(write_folder(tmp_path / "v", [5]))
    path = tmp_path / "v" / name
    path.write_bytes(path.read_bytes())
    [work] = work_of(folder)
    with pytest.raises(SourceError, match=r"was replaced while the run was reading it"):
        list(source_of(folder).read(work, 10))
    assert opened(tmp_path / "v").manifest.digest != folder.manifest.digest
