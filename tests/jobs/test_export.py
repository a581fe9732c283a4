"""`pixlake export`: the rows of one version, once each, in files that others read; resumed, and never half there."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding_reader import EmbeddingReader

from end_to_end.command import pixlake_here
from jobs.config.load import load_config
from jobs.export import ExportConfig, Exported, as_text, run
from operators.base.arrays import vector_field, vectors_from_numpy
from operators.base.errors import UserError
from operators.models.load import describe
from operators.models.spec import parse_model_name
from pipelines.space.field import DIGEST_KEY, with_space

DIM, ROWS, PER_FRAGMENT = 8, 230, 50
MODEL = describe(parse_model_name("null"))


def vectors_of(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, DIM)).astype("f2")


def spaced(name: str, kind: pa.DataType) -> pa.Field:
    return with_space(pa.field(name, kind), {"embed": {"column": name}, "normalize": {"dtype": "float16"}}, MODEL)


def rows_of(first: int, count: int, **more: tuple[pa.Field, pa.Array]) -> pa.Table:
    numbers = range(first, first + count)
    fields = [pa.field("id", pa.string()), pa.field("uri", pa.string()), pa.field("number", pa.int64())]
    fields.append(spaced("vector", vector_field(DIM, pa.float16()).type))
    arrays = [
        pa.array([f"id-{n}" for n in numbers]),
        pa.array([f"s3://b/{n}.jpg" for n in numbers]),
        pa.array(numbers),
        vectors_from_numpy(vectors_of(ROWS)[first : first + count]),
    ]
    fields += [field for field, _ in more.values()]
    arrays += [array for _, array in more.values()]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Five fragments, of which some rows have been deleted."""
    uri = tmp_path_factory.mktemp("lake") / "photos.lance"
    for first in range(0, ROWS, PER_FRAGMENT):
        lance.write_dataset(rows_of(first, min(PER_FRAGMENT, ROWS - first)), uri, mode="append" if first else "create")
    lance.dataset(uri).delete("number % 10 = 3")
    return str(uri).removesuffix(".lance")


KEPT = [n for n in range(ROWS) if n % 10 != 3]


def export(table: str, out: Path, **options: Any) -> Exported:
    return run(load_config(ExportConfig, base={"table": table, "out": str(out), **options}))


def files_in(out: Path) -> dict[str, int]:
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in sorted(out.rglob("*")) if p.is_file()}


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), "f2")


def test_parquet_files_hold_every_row_once_in_order_with_types_and_spaces(table: str, tmp_path: Path) -> None:
    done = export(table, tmp_path / "out", rows_per_file=40)
    assert (done.rows, done.files, done.written_now) == (len(KEPT), 6, 6)
    assert list(files_in(tmp_path / "out")) == [f"part-{n:05d}.parquet" for n in range(6)]
    assert (tmp_path / "out.export.json").is_file()
    parts = [pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert [part.num_rows for part in parts] == [40, 40, 40, 40, 40, 7]
    rows = pa.concat_tables(parts)
    assert rows["number"].to_pylist() == KEPT
    assert np.array_equal(matrix(rows["vector"]), vectors_of(ROWS)[KEPT])
    assert pa.types.is_fixed_size_list(rows.schema.field("vector").type)
    there = lance.dataset(f"{table}.lance").schema.field("vector").metadata
    assert rows.schema.field("vector").metadata == there
    about = json.loads(pq.read_schema(tmp_path / "out" / "part-00000.parquet").metadata[b"pixlake.export"])
    assert about["version"] == done.version == lance.dataset(f"{table}.lance").version


def test_embedding_reader_reads_an_npy_export_with_its_metadata(table: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(table, out, format="npy", rows_per_file=40)
    names = [
        *(f"img_emb/img_emb_000{n}.npy" for n in range(6)),
        *(f"metadata/metadata_000{n}.parquet" for n in range(6)),
    ]
    assert list(files_in(out)) == names
    plain = EmbeddingReader(str(out / "img_emb"), file_format="npy")
    assert (plain.count, plain.dimension) == (len(KEPT), DIM)
    found = np.concatenate([vectors for vectors, _ in plain(batch_size=31, show_progress=False)])
    assert np.array_equal(found.astype("f2"), vectors_of(ROWS)[KEPT])
    paired = EmbeddingReader(
        str(out / "img_emb"),
        file_format="parquet_npy",
        metadata_folder=str(out / "metadata"),
        meta_columns=["id", "image_path", "number"],
    )
    for vectors, metadata in paired(batch_size=31, show_progress=False):
        numbers = metadata["number"].tolist()
        assert metadata["image_path"].tolist() == [f"s3://b/{n}.jpg" for n in numbers]
        assert np.array_equal(vectors.astype("f2"), vectors_of(ROWS)[numbers])


def test_the_record_beside_the_folder_says_what_the_vectors_are(table: str, tmp_path: Path) -> None:
    export(table, tmp_path / "out", format="npy")
    about = json.loads((tmp_path / "out.export.json").read_text())["vectors"]["vector"]
    there = lance.dataset(f"{table}.lance").schema.field("vector").metadata
    assert about["space"] == {"embed": {"column": "vector"}, "normalize": {"dtype": "float16"}}
    assert about["space_digest"] == there[DIGEST_KEY].decode()
    assert about["model"] == MODEL.model_dump(mode="json")


def test_only_rows_that_match_and_columns_that_are_named(table: str, tmp_path: Path) -> None:
    where = "number >= 45 AND number < 120"
    export(table, tmp_path / "out", where=where, columns=["number"], rows_per_file=30)
    rows = pq.read_table(tmp_path / "out")
    assert rows.column_names == ["number", "vector"]
    assert rows["number"].to_pylist() == [n for n in KEPT if 45 <= n < 120]
    assert np.array_equal(matrix(rows["vector"]), vectors_of(ROWS)[rows["number"].to_pylist()])


def test_a_double_quoted_word_in_a_filter_is_a_column_and_another_ends_the_export_before_its_record(
    table: str, tmp_path: Path
) -> None:
    assert export(table, tmp_path / "out", where='"number" >= 45 AND "number" < 120').rows == sum(
        45 <= n < 120 for n in KEPT
    )
    with pytest.raises(UserError, match="no column 'nmber'; did you mean `number`"):
        export(table, tmp_path / "other", where='"nmber" IS NOT NULL')
    assert not (tmp_path / "other").exists()


def test_no_rows_are_one_file_without_rows(table: str, tmp_path: Path) -> None:
    done = export(table, tmp_path / "out", format="npy", where="number < 0")
    assert (done.rows, done.files) == (0, 1)
    assert np.load(tmp_path / "out" / "img_emb" / "img_emb_0000.npy").shape == (0, DIM)


def content(path: Path) -> Any:
    """Of Parquet, the rows: the order of what is said about a column is not the same in every file."""
    return pq.read_table(path) if path.suffix == ".parquet" else path.read_bytes()


def test_a_finished_export_does_nothing_and_goes_on_where_files_are_missing_or_damaged(
    table: str, tmp_path: Path
) -> None:
    for output_format in ("npy", "parquet"):
        out = tmp_path / output_format
        first = export(table, out, format=output_format, rows_per_file=40)
        before = files_in(out)
        assert export(table, out, format=output_format, rows_per_file=40).written_now == 0
        assert files_in(out) == before
        contents = {name: content(out / name) for name in before}
        spoiled = sorted(before)
        (out / spoiled[1]).unlink()
        (out / spoiled[2]).write_bytes((out / spoiled[2]).read_bytes()[:-9])
        killed = out / spoiled[3]
        killed.with_name(f".{killed.name}.{'0' * 32}").write_bytes(b"half")
        again = export(table, out, format=output_format, rows_per_file=40)
        assert (again.written_now, again.rows) == (2, first.rows)
        assert {name: content(out / name) for name in files_in(out)} == contents


def test_a_filter_that_gives_other_rows_each_time_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    # In none of 60 fragments fewer than were counted: once in a thousand million times at most.
    lance.write_dataset(rows_of(0, ROWS), tmp_path / "photos.lance", max_rows_per_file=ROWS // 60)
    with pytest.raises(UserError, match=r"part-00000\.parquet: \d+ rows where \d+ were counted; the filter 'random"):
        export(str(tmp_path / "photos"), tmp_path / "out", where="random() < 0.5")
    assert files_in(tmp_path / "out") == {}


def test_it_goes_on_with_the_version_it_began_with(tmp_path: Path) -> None:
    table, out = tmp_path / "photos", tmp_path / "out"
    lance.write_dataset(rows_of(0, 100), f"{table}.lance")
    began = export(str(table), out, rows_per_file=30)
    lance.write_dataset(rows_of(100, 50), f"{table}.lance", mode="append")
    lance.dataset(f"{table}.lance").delete("number < 20")
    (out / "part-00000.parquet").unlink()
    done = export(str(table), out, rows_per_file=30)
    assert (done.rows, done.version, done.written_now) == (100, began.version, 1)
    assert pq.read_table(out)["number"].to_pylist() == list(range(100))
    assert f"the table is at version {began.version + 2} now" in as_text(done)
    lance.dataset(f"{table}.lance").cleanup_old_versions(older_than=timedelta(0))
    with pytest.raises(UserError, match=rf"version {began.version}, which this export began with, has been cleaned up"):
        export(str(table), out, rows_per_file=30)


def test_it_goes_on_after_a_column_was_added_to_the_table(tmp_path: Path) -> None:
    uri = str(tmp_path / "lake" / "photos.lance")
    lance.write_dataset(rows_of(0, 60), uri)
    table, out = uri.removesuffix(".lance"), tmp_path / "out"
    began = export(table, out, rows_per_file=20)
    (out / "part-00001.parquet").unlink()
    lance.dataset(uri).add_columns(pa.field("vector_4", pa.list_(pa.float16(), 4)))
    again = export(table, out, rows_per_file=20)
    assert (again.version, again.written_now, again.columns) == (began.version, 1, began.columns)
    assert pq.read_schema(out / "part-00001.parquet") == pq.read_schema(out / "part-00000.parquet")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"format": "npy"}, r'format: there "parquet", asked for "npy"'),
        ({"where": "number > 1"}, r'where: there null, asked for "number > 1"'),
        ({"columns": ["id"]}, r'columns: there \["id", "uri", "number"\], asked for \["id"\]'),
        ({"rows_per_file": 41}, r"rows_per_file: there 40, asked for 41"),
    ],
)
def test_another_export_into_the_same_folder_is_refused_with_both_shown(
    table: str, tmp_path: Path, other: dict[str, Any], says: str
) -> None:
    export(table, tmp_path / "out", rows_per_file=40)
    before = files_in(tmp_path / "out")
    with pytest.raises(UserError, match=says):
        export(table, tmp_path / "out", **{"rows_per_file": 40, **other})
    assert files_in(tmp_path / "out") == before


def with_files(out: Path) -> None:
    out.mkdir()
    (out / "thesis.doc").touch()


def as_file(out: Path) -> None:
    out.touch()


REFUSED: dict[str, tuple[dict[str, Any], Callable[[Path], None] | None, str]] = {
    "a folder of other things": ({}, with_files, r"holds files that no export wrote \(thesis\.doc\)"),
    "a file": ({}, as_file, r"out is a file, and exports go to a folder"),
    "below a file": ({"out": f"{__file__}/below"}, None, r"test_export\.py is a file, and exports go to a folder"),
    "no such column": ({"columns": ["label"]}, None, r"no column 'label' beside its vectors.*; there: id, uri, number"),
    "a vector as a column": ({"columns": ["vector"]}, None, r"no column 'vector' beside its vectors"),
    "no such vector": ({"column": ["vec"]}, None, r"no vector column 'vec'; there: vector \(null\)"),
    "no SQL": ({"where": "number >"}, None, r"--where 'number >' does not work on this table"),
    "an unknown name in SQL": ({"where": "size > 1"}, None, r"--where 'size > 1' does not work"),
    "a web address": ({"out": "https://h/x"}, None, r"exports go to a local folder or to a prefix"),
    "a whole bucket": ({"out": "s3://bucket"}, None, r"exports go to a local folder or to a prefix"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused_before_anything_is_written(table: str, tmp_path: Path, name: str) -> None:
    options, prepare, says = REFUSED[name]
    if prepare is not None:
        prepare(tmp_path / "out")
    before = files_in(tmp_path)
    with pytest.raises(UserError, match=says):
        run(load_config(ExportConfig, base={"table": table, "out": str(tmp_path / "out"), **options}))
    assert files_in(tmp_path) == before


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table with codes beside its vectors, several vectors a row, and vectors that some rows lack."""
    count = 20
    codes = np.random.default_rng(1).integers(-128, 128, (count, DIM)).astype(np.int8)
    many = pa.array([[list(map(float, v))] * (n % 3) for n, v in enumerate(vectors_of(count, 2))])
    lacking = vectors_from_numpy(vectors_of(count, 3), np.arange(count) % 2 == 0)
    kinds = {"codes": pa.list_(pa.int8(), DIM), "many": pa.list_(pa.list_(pa.float16(), DIM)), "lacking": lacking.type}
    arrays = {"codes": vectors_from_numpy(codes), "many": many.cast(kinds["many"]), "lacking": lacking}
    more = {name: (spaced(name, kind), arrays[name].cast(kind)) for name, kind in kinds.items()}
    uri = tmp_path_factory.mktemp("several") / "t.lance"
    lance.write_dataset(rows_of(0, count, **more), uri)
    return str(uri).removesuffix(".lance")


def test_codes_are_exported_as_they_are(several: str, tmp_path: Path) -> None:
    export(several, tmp_path / "npy", format="npy", column=["codes"])
    found = np.load(tmp_path / "npy" / "img_emb" / "img_emb_0000.npy")
    there = lance.dataset(f"{several}.lance").to_table()
    assert found.dtype == np.int8
    assert found.tolist() == there["codes"].to_pylist()
    export(several, tmp_path / "parquet", column=["codes", "many"])
    rows = pq.read_table(tmp_path / "parquet" / "part-00000.parquet")
    assert rows.column_names == ["id", "uri", "number", "codes", "many"]
    for name in ("codes", "many"):
        assert rows.schema.field(name).equals(there.schema.field(name))
        assert rows[name].to_pylist() == there[name].to_pylist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, r"has several vector columns, name one with --column: vector \(null\), codes"),
        ({"column": ["vector", "codes"]}, r"holds one vector column and 2 are asked for"),
        ({"column": ["many"]}, r"several vectors a row"),
        ({"column": ["lacking"]}, r"leave them out with --where '`lacking` IS NOT NULL'"),
    ],
)
def test_what_npy_cannot_hold_is_refused_with_the_reason(
    several: str, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        export(several, tmp_path / "out", format="npy", **options)
    assert set(files_in(tmp_path)) <= {"out.export.json"}


def test_rows_without_a_vector_are_left_out_as_the_error_says(several: str, tmp_path: Path) -> None:
    export(several, tmp_path / "out", format="npy", column=["lacking"], where="lacking IS NOT NULL")
    found = np.load(tmp_path / "out" / "img_emb" / "img_emb_0000.npy")
    assert np.array_equal(found, vectors_of(20, 3)[::2])
    assert pq.read_table(tmp_path / "out" / "metadata")["number"].to_pylist() == list(range(0, 20, 2))


@pytest.mark.ray
def test_tasks_on_ray_write_the_same_files(table: str, tmp_path: Path) -> None:
    here = export(table, tmp_path / "here", rows_per_file=20)
    on_ray = export(table, tmp_path / "ray", rows_per_file=20, cluster={"executor": "ray"})
    assert on_ray.model_dump(exclude={"out"}) == here.model_dump(exclude={"out"})
    assert list(files_in(tmp_path / "ray")) == list(files_in(tmp_path / "here"))
    for path in (tmp_path / "here").glob("*.parquet"):
        assert pq.read_table(path).equals(pq.read_table(tmp_path / "ray" / path.name))


def test_a_column_with_a_comma_in_its_name_is_named_as_in_csv(tmp_path: Path) -> None:
    rows = rows_of(0, 2, comma=(pa.field("a,b", pa.string()), pa.array(["x", "y"])))
    lance.write_dataset(rows, tmp_path / "t.lance")
    named = ("--columns", 'id,"a,b"')
    local = ("--set", "cluster.executor=local")
    ended = pixlake_here("export", str(tmp_path / "t"), str(tmp_path / "out"), *named, *local)
    assert ended.code == 0, ended.err
    [part] = (tmp_path / "out").glob("*.parquet")
    assert pq.read_table(part).select(["id", "a,b"]).to_pylist() == rows.select(["id", "a,b"]).to_pylist()
