"""Kept columns of every Arrow type, three deep: read back from the table as they were, or refused before a start."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lancedb
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import export, refresh, search
from jobs.embed import EmbedConfig, run
from jobs.embedding.plan import plan
from made.every_type import SCALARS, every
from pipelines.manifests.kept_types import KeptTypeError, stored_column_type, stored_type
from pipelines.manifests.manifest import SourceError

ROWS = 7
MISSING = 3
"""The row whose image is not there."""
FEW = ("int32", "string", "dictionary", "fixed_binary", "timestamp_us_zone", "uuid", "decimal32", "null")
DEEP = ("int32",)
"""Three deep: one of each way in which Lance stores a value."""


@dataclass(frozen=True)
class Kept:
    table: str
    columns: dict[str, list[Any]]
    """What the manifest holds, as Python values."""
    stored: dict[str, pa.DataType]


def config(folder: Path, columns: dict[str, pa.Array]) -> EmbedConfig:
    """A job that keeps all columns of a manifest in two row groups, one of whose images is missing."""
    for n in range(ROWS):
        if n != MISSING:
            Image.new("RGB", (4, 4), (30 * n, 9, 9)).save(folder / f"{n}.png")
    rows = pa.table({"uri": [f"{n}.png" for n in range(ROWS)], "key": [f"r{n}" for n in range(ROWS)], **columns})
    pq.write_table(rows, folder / "m.parquet", row_group_size=4)
    return EmbedConfig.model_validate(
        {
            "source": {"uri": str(folder / "m.parquet"), "id_column": "key", "keep": list(columns)},
            "table": str(folder / "lake" / "t"),
            "model": {"name": "null"},
            "cluster": {"executor": "local", "block_rows": 3},
            "decode": {"isolate": False},
        }
    )


def kept_columns() -> dict[str, pa.Array]:
    """All that Parquet can hold and that the table can store."""
    columns = {}
    for name, make in [*every(0), *every(1), *every(2, FEW), *every(3, DEEP)]:
        array = make(ROWS)
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([("x", array.type)]))
            stored_column_type(array.type)
        except (pa.ArrowNotImplementedError, KeptTypeError):
            continue
        if not ("struct-" in name and name.endswith("_view")):
            # pyarrow cannot write these: "Slicing not implemented for StringView".
            columns[name] = array
    return columns


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("types")
    columns = kept_columns()
    job = config(folder, columns)
    report = run(job)
    assert (report.status, report.vectors, report.failures) == ("complete", ROWS - 1, 1)
    # Parquet has no seconds and no date64: what it makes of them is what is kept.
    there = pq.read_schema(folder / "m.parquet")
    stored = {name: stored_column_type(there.field(name).type) for name in columns}
    return Kept(table=job.table, columns={name: each.to_pylist() for name, each in columns.items()}, stored=stored)


def wrong(rows: pa.Table, kept: Kept) -> list[str]:
    """Columns that do not hold what the manifest holds, of rows in any order."""
    rows = rows.take(pc.sort_indices(rows["id"]))
    return [name for name, values in kept.columns.items() if rows[name].to_pylist() != without_missing(values)]


def without_missing(values: list[Any]) -> list[Any]:
    return [value for row, value in enumerate(values) if row != MISSING]


def test_plain_lancedb_reads_what_the_manifest_holds_in_the_types_that_were_said(kept: Kept) -> None:
    database, _, name = kept.table.rpartition("/")
    rows = lancedb.connect(database).open_table(name).to_arrow()
    assert wrong(rows, kept) == []
    assert {name: rows.schema.field(name).type for name in kept.stored} == kept.stored


def test_search_gives_every_value_and_prints_it(kept: Kept) -> None:
    found = search.run(search.SearchConfig(table=kept.table, id="r0", k=ROWS))
    by_id = {row["id"]: row for row in found.results}
    assert set(by_id) == {f"r{n}" for n in range(ROWS) if n != MISSING}
    differing = {name for name, values in kept.columns.items() if by_id["r4"][name] != values[4]}
    assert differing == set()
    json.dumps(found.model_dump(mode="json"), allow_nan=False)


def test_a_refresh_compares_every_value(kept: Kept) -> None:
    found = refresh.run(refresh.RefreshConfig(table=kept.table, dry_run=True))
    states = {state: count for state, count in found.counts.items() if count}
    assert states == {"unchanged": ROWS - 1, "retried": 1}, "the missing image is tried again"


def test_an_export_is_read_by_pyarrow_and_polars(kept: Kept, tmp_path: Path) -> None:
    request = {"table": kept.table, "out": str(tmp_path / "out"), "cluster": {"executor": "local"}}
    export.run(export.ExportConfig.model_validate(request))
    rows = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    assert wrong(rows, kept) == []
    # polars has no decimals of more than 38 digits, which is its own affair.
    readable = [name for name in kept.columns if not name.endswith("decimal256")]
    frame = polars.read_parquet(tmp_path / "out" / "part-00000.parquet", columns=["id", *readable]).sort("id")
    differing = [
        name
        for name in readable
        # It has no maps and no UUIDs either: lists of structs and bytes there.
        if not {"map", "uuid"} & set(name.split("-")) and frame[name].to_list() != without_missing(kept.columns[name])
    ]
    assert (frame.height, differing) == (ROWS - 1, [])


def test_pandas_reads_the_table(kept: Kept) -> None:
    database, _, name = kept.table.rpartition("/")
    # pyarrow makes no pandas column of lists of bytes of a fixed size.
    readable = [each for each in kept.columns if not (each.endswith(("-fixed_binary", "-uuid")) and "list" in each)]
    rows = lancedb.connect(database).open_table(name).to_arrow().select(["id", *readable])
    frame = rows.to_pandas().sort_values("id")
    assert (len(frame), frame["string"].tolist()) == (ROWS - 1, without_missing(kept.columns["string"]))


REFUSED = {
    "interval": "Lance has no month_day_nano_interval",
    "run_end_encoded": "Lance has no run_end_encoded",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_type_that_parquet_cannot_hold_has_no_stored_one_either(name: str, depth: int) -> None:
    for _, make in every(depth, (name,)):
        with pytest.raises(KeptTypeError, match=REFUSED[name]):
            stored_column_type(make(ROWS).type)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_stored_type_is_stored_as_it_is(depth: int) -> None:
    for scalar in set(SCALARS) - set(REFUSED):
        for name, make in every(depth, (scalar,)):
            stored = stored_column_type(make(2).type)
            assert stored_column_type(stored) == stored, name


def test_other_types_are_said_and_impossible_ones_refused_before_anything_is_written(tmp_path: Path) -> None:
    fixed = pa.array([[{"a": 1}, {"a": 2}]] * ROWS, pa.list_(pa.struct([("a", pa.int8())]), 2))
    text = plan(config(tmp_path, {"pairs": fixed, "price": pa.array([1] * ROWS, pa.decimal32(5, 2))})).text()
    assert "note     column 'pairs' is stored as list<element: struct<a: int8>>, since Lance cannot hold fixed" in text
    assert "note     column 'price' is stored as decimal128(5, 2), since Lance cannot hold decimal32(5, 2)\n" in text
    assert "column   pairs: list<element: struct<a: int8>>" in text
    for name, array, says in (
        ("twins", pa.StructArray.from_arrays([pa.array(range(ROWS))] * 2, ["a", "a"]), "two fields 'a'"),
        ("nul", pa.StructArray.from_arrays([pa.array(range(ROWS))], ["a\0"]), "cannot read its field 'a"),
    ):
        with pytest.raises(SourceError, match=rf"m\.parquet: column '{name}' is struct<.*{says}"):
            run(config(tmp_path, {name: array}))
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (pa.struct([]), "without fields"),
        (pa.list_(pa.int8(), 0), "fixed size 0"),
        (pa.list_(pa.struct([])), "without fields"),
        (pa.dense_union([pa.field("a", pa.int8())]), "Lance has no dense_union"),
    ],
)
def test_a_type_without_a_stored_one_is_refused(kind: pa.DataType, says: str) -> None:
    with pytest.raises(KeptTypeError, match=says):
        stored_type(kind)


def test_views_of_lists_are_stored_as_lists() -> None:
    assert stored_type(pa.list_view(pa.string_view())) == pa.list_(pa.string())
    assert stored_type(pa.large_list_view(pa.null())) == pa.large_list(pa.string())
