"""Parquet parts whose columns differ: some say nothing, some are narrower. What comes out is what was written."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work

NOON = dt.datetime(2026, 11, 28, 12)


@pytest.fixture
def parts(tmp_path: Path) -> Callable[..., Manifest]:
    def open_parts(*tables: pa.Table, **options: Any) -> Manifest:
        (tmp_path / "p").mkdir()
        for number, table in enumerate(tables):
            pq.write_table(table, tmp_path / f"p/{number}.parquet")
        return manifest_of(SourceConfig(uri=str(tmp_path / "p"), **options), NO_OPTIONS, str(tmp_path / "work"))

    return open_parts


def part(number: int, n: pa.Array) -> pa.Table:
    return pa.table({"uri": pa.array([f"s3://b/{number}-{at}" for at in range(len(n))], pa.string()), "n": n})


def rows_of(manifest: Manifest) -> pa.Table:
    tables = []
    for shard in manifest.shards:
        work = shard_work(shard, shard.number, np.ones(shard.num_rows, bool))
        assert work is not None
        tables += list(Source(columns=manifest.columns).read(work, 1000))
    return pa.concat_tables(tables)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (pa.array([1], pa.int32()), pa.array([2**62]), pa.int64()),
        (pa.array([2**31], pa.uint32()), pa.array([-1], pa.int32()), pa.int64()),
        (pa.array([2**53]), pa.array([0.5]), pa.float64()),
        (pa.array([2**24 + 1], pa.int32()), pa.array([0.5], pa.float32()), pa.float64()),
        (pa.array([0.5], pa.float16()), pa.array([0.1], pa.float32()), pa.float32()),
        (pa.array([2**62], pa.uint64()), pa.array([-1]), pa.int64()),
        (pa.array([Decimal("1.5")], pa.decimal128(4, 2)), pa.array([Decimal("1.5")]), pa.decimal128(4, 2)),
        (pa.array([NOON], pa.timestamp("ms")), pa.array([NOON], pa.timestamp("ns")), pa.timestamp("ns")),
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), pa.string()),
        (pa.array(["a"]), pa.array(["b"]).dictionary_encode(), pa.string()),
        (pa.array([1], pa.int32()), pa.array([2]).dictionary_encode(), pa.int64()),
        (pa.array([[]], pa.list_(pa.null())), pa.array([[1, None]]), pa.list_(pa.int64())),
        (pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)), pa.array([[0.1, 2.0]], pa.list_(pa.float64(), 2)), None),
        (pa.array([{"a": None, "b": 1}]), pa.array([{"a": "x", "b": 2}]), None),
    ],
    ids=str,
)
@pytest.mark.parametrize("turned", [False, True])
def test_types_widen_to_one_that_changes_no_value(
    parts: Callable[..., Manifest], first: pa.Array, second: pa.Array, kind: pa.DataType | None, turned: bool
) -> None:
    both = (second, first) if turned else (first, second)
    rows = rows_of(parts(part(0, both[0]), part(1, both[1]), keep=("n",)))
    assert rows.schema.field("n").type == (kind or second.type)
    assert rows["n"].to_pylist() == [*both[0].to_pylist(), *both[1].to_pylist()]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (pa.array([2**53 + 1]), pa.array([0.5]), "0.parquet: column 'n' is int64 there and double in other files"),
        (pa.array([2**63], pa.uint64()), pa.array([-1]), "column 'n' is uint64 there and int64 in other files"),
        (
            pa.array([dt.datetime(9999, 1, 1)], pa.timestamp("ms")),
            pa.array([NOON], pa.timestamp("ns")),
            r"timestamp\[ms\] there and timestamp\[ns\] in other files",
        ),
        (pa.array([1]), pa.array(["1"]), r"column 'n' is int64 in .*0\.parquet and string in .*1\.parquet"),
        (pa.array([True]), pa.array([1]), "column 'n' is bool in .* and int64 in "),
        (pa.array([b"a"]), pa.array(["a"]), "column 'n' is binary in .* and string in "),
        (pa.array([{"a": 1}]), pa.array([{"b": 1}]), "column 'n' is struct<a: int64> in "),
        (
            pa.array([NOON], pa.timestamp("us")),
            pa.array([NOON], pa.timestamp("us", "UTC")),
            r"timestamp\[us\] in .* and timestamp\[us, tz=UTC\]",
        ),
    ],
    ids=str,
)
def test_types_of_which_a_value_would_change_are_refused_by_name(
    parts: Callable[..., Manifest], first: pa.Array, second: pa.Array, says: str
) -> None:
    with pytest.raises(SourceError, match=says):
        parts(part(0, first), part(1, second), keep=("n",))


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(
    "silent",
    [
        pa.table({}),
        pa.table({"uri": pa.array([], pa.int64()), "n": pa.array([], pa.bool_())}),
        pa.table({"uri": pa.nulls(2), "n": pa.nulls(2)}),
        # pandas makes floats of a column of integers that are all missing.
        pa.table({"uri": pa.array([None, None], pa.float64()), "n": pa.array([None, None], pa.float64())}),
        pa.table({"uri": pa.array([None, None], pa.bool_()), "n": pa.array([None, None], pa.bool_())}),
    ],
    ids=["no columns", "no rows", "nulls", "null floats", "null booleans"],
)
@pytest.mark.parametrize("n", [pa.array(["x"]), pa.array([[1]]), pa.array([{"a": 1}]), pa.array([b"x"])], ids=str)
def test_a_part_without_a_value_says_nothing_of_a_type(
    parts: Callable[..., Manifest], silent: pa.Table, position: int, n: pa.Array
) -> None:
    tables = [part(1, n)]
    tables.insert(position, silent)
    manifest = parts(*tables, keep=("n",))
    rows = rows_of(manifest).to_pylist()
    assert manifest.num_rows == 1 + silent.num_rows
    assert [row["n"] for row in rows if row["uri"]] == n.to_pylist()
    others = [row for row in rows if not row["uri"]]
    assert [(row["error_class"], row["n"]) for row in others] == [("bad_uri", None)] * silent.num_rows


def test_a_manifest_that_says_nothing_at_all_has_its_rows_as_failures(parts: Callable[..., Manifest]) -> None:
    manifest = parts(pa.table({"uri": pa.nulls(2), "n": pa.nulls(2)}), id_column="n")
    assert [row["error_class"] for row in rows_of(manifest).to_pylist()] == ["bad_uri", "bad_uri"]


def test_images_in_a_column_of_which_a_part_has_no_paths(parts: Callable[..., Manifest]) -> None:
    """Hugging Face's datasets write `path` as a column of nulls where all images were made in memory."""
    kinds = [pa.struct([("bytes", pa.binary()), ("path", kind)]) for kind in (pa.null(), pa.string())]
    tables = [pa.table({"image": pa.array([{"bytes": b"x", "path": None}], kind)}) for kind in kinds]
    manifest = parts(*tables)
    assert manifest.columns.image is not None
    assert manifest.columns.image.type == kinds[1]


@pytest.mark.parametrize(
    ("silent", "told"),
    [
        (pa.nulls(1, pa.int32()), pa.array(["x"])),
        (pa.nulls(1, pa.list_(pa.int32())), pa.array([["x"]])),
        (pa.nulls(1, pa.struct([("a", pa.int32())])), pa.array([{"a": "x"}])),
    ],
)
def test_a_column_without_values_says_nothing_where_statistics_do_not_say_so(
    tmp_path: Path, silent: pa.Array, told: pa.Array
) -> None:
    """Writers may leave statistics out, and of lists and structs Parquet has them by leaf alone."""
    (tmp_path / "p").mkdir()
    pq.write_table(part(0, silent), tmp_path / "p/0.parquet", write_statistics=False)
    pq.write_table(part(1, told), tmp_path / "p/1.parquet")
    manifest = manifest_of(SourceConfig(uri=str(tmp_path / "p"), keep=("n",)), NO_OPTIONS, str(tmp_path / "work"))
    assert rows_of(manifest)["n"].to_pylist() == [None, *told.to_pylist()]


@pytest.mark.parametrize("name", ["id", "uri"])
def test_ids_and_uris_without_values_say_nothing_either(tmp_path: Path, name: str) -> None:
    (tmp_path / "p").mkdir()
    table = pa.table({"uri": ["s3://b/1"], "id": ["a"]})
    silent = table.set_column(table.schema.get_field_index(name), name, pa.nulls(1, pa.float64()))
    pq.write_table(silent, tmp_path / "p/0.parquet", write_statistics=False)
    pq.write_table(table, tmp_path / "p/1.parquet")
    manifest = manifest_of(SourceConfig(uri=str(tmp_path / "p"), id_column="id"), NO_OPTIONS, str(tmp_path / "work"))
    assert rows_of(manifest)[name].to_pylist()[1] == table[name][0].as_py()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([Decimal("1.25")]), pa.array([2**63 - 1])),
        (pa.array([-7], pa.int8()), pa.array([Decimal("1.25")], pa.decimal32(5, 2))),
        (pa.array([Decimal(10) ** 37], pa.decimal128(38, 0)), pa.array([Decimal("0.0000000001")])),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([Decimal("1E-30")], pa.decimal128(38, 30))),
    ],
)
def test_integers_and_decimals_have_room_for_all_digits(
    parts: Callable[..., Manifest], first: pa.Array, second: pa.Array
) -> None:
    """Values as Python's own decimals compare them; pyarrow widens to types that it then casts nothing to."""
    manifest = parts(part(0, first), part(1, second), keep=("n",))
    assert rows_of(manifest)["n"].to_pylist() == [*first.to_pylist(), *second.to_pylist()]
