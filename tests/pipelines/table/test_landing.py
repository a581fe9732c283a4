"""Schemas that other tools change between the write of a fragment and its commit: what lands, what is written again.

Plain lancedb makes every change; tables are read back with lance alone.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import lancedb
import pyarrow as pa
import pytest

from made.tables import KEPT, SCHEMA, batch, names_in, open_committer, positions, read, sink_of
from pipelines.commits.committer import Committer
from pipelines.commits.sink import Sink
from pipelines.space.field import REDUCTION_KEY, SPACE_KEY
from pipelines.table.errors import RefusedError, SchemaChangedError
from pipelines.table.landing import fit_schema
from pipelines.table.names import TableNames

Change = Callable[[Any], object]

NULLABLE: dict[str, Change] = {
    "by SQL over another column": lambda t: t.add_columns({"upper": "upper(label)"}),
    "by a schema": lambda t: t.add_columns(pa.schema([pa.field("note", pa.string())])),
    "made NULL": lambda t: t.add_columns({"note": "cast(NULL as string)"}),
}
NOT_NULL: dict[str, Change] = {
    "by a number": lambda t: t.add_columns({"reviewed": "cast(0 as int)"}),
    "by a truth": lambda t: t.add_columns({"reviewed": "false"}),
}
ANEW: dict[str, Change] = {
    "dropped and added again": lambda t: (t.drop_columns(["label"]), t.add_columns(pa.schema([KEPT[0]]))),
    "of a wider type": lambda t: t.alter_columns({"path": "label", "data_type": pa.large_string()}),
    "that takes no nulls now": lambda t: t.alter_columns({"path": "label", "nullable": False}),
}
LOST: dict[str, tuple[Change, str]] = {
    "dropped": (lambda t: t.drop_columns(["label"]), r"label: not in the table.*source\.keep.*add it again: python -c"),
    "renamed": (lambda t: t.alter_columns({"path": "label", "rename": "tag"}), "label: not in the table"),
    "narrower": (
        lambda t: t.alter_columns({"path": "size_bytes", "data_type": pa.int32()}),
        "size_bytes: int32 in the table, int64 in this run",
    ),
}


@pytest.fixture
def names(tmp_path: Path) -> TableNames:
    """Rows 0 to 4 of shard 0 are there."""
    names = names_in(tmp_path)
    open_committer(names).commit([sink_of(names).write(batch(0, range(5), failed=[1]))])
    return names


def plain(names: TableNames, name: str = "photos") -> Any:
    return lancedb.connect(names.database).open_table(name)


def sink(committer: Committer) -> Sink:
    vectors, failures = committer.written
    return Sink(names=committer.names, vectors_schema=vectors, failures_schema=failures)


def labels(names: TableNames, column: str = "label") -> dict[int, Any]:
    rows = lance.dataset(names.vectors).to_table(columns=["row", column])
    return dict(zip(rows["row"].to_pylist(), rows[column].to_pylist(), strict=True))


@pytest.mark.parametrize("change", NULLABLE.values(), ids=NULLABLE)
def test_a_column_of_another_tool_that_takes_nulls_stops_nothing(names: TableNames, change: Change) -> None:
    committer = open_committer(names)
    receipt = sink(committer).write(batch(0, range(5, 9)))
    change(plain(names))
    committer.commit([receipt])
    committer.commit([sink(committer).write(batch(0, range(9, 12)))])
    assert read(names.vectors) == positions(0, [0, *range(2, 12)])
    assert labels(names) == {r: f"l{r}" for r in [0, *range(2, 12)]}


@pytest.mark.parametrize("change", NOT_NULL.values(), ids=NOT_NULL)
def test_a_column_that_takes_no_nulls_stops_the_run_with_a_line_that_cures(names: TableNames, change: Change) -> None:
    committer = open_committer(names)
    receipt = sink(committer).write(batch(0, range(5, 9)))
    change(plain(names))
    with pytest.raises(SchemaChangedError, match="reviewed"):
        committer.commit([receipt])
    with pytest.raises(SchemaChangedError, match="reviewed"):
        sink(committer).write(batch(0, range(5, 9)))
    assert len(labels(names, "reviewed")) == 4, "the table must still be readable"
    with pytest.raises(RefusedError, match="reviewed: in the table, not in this run, and not nullable") as refused:
        committer.refit()
    with pytest.raises(RefusedError, match="reviewed: in the table"):
        open_committer(names)
    line = str(refused.value).partition("this line has run: ")[2]
    python = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(line, shell=True, check=True, env=python)
    committer = open_committer(names)
    committer.commit([sink(committer).write(batch(0, range(5, 9)))])
    assert read(names.vectors) == positions(0, [0, *range(2, 9)])
    assert set(labels(names, "reviewed").values()) <= {0, None}


@pytest.mark.parametrize("change", ANEW.values(), ids=ANEW)
def test_rows_for_a_column_that_was_made_anew_are_refused_and_fit_when_written_again(
    names: TableNames, change: Change
) -> None:
    committer = open_committer(names)
    stale = sink(committer)
    receipt = stale.write(batch(0, range(5, 9)))
    change(plain(names))
    version = lance.dataset(names.vectors).version
    with pytest.raises(SchemaChangedError):
        committer.commit([receipt])
    assert lance.dataset(names.vectors).version == version
    assert committer.refit()
    committer.commit([sink(committer).write(batch(0, range(5, 9)))])
    assert read(names.vectors) == positions(0, [0, *range(2, 9)])
    assert {r: labels(names)[r] for r in range(5, 9)} == {r: f"l{r}" for r in range(5, 9)}
    assert not committer.refit(), "nothing has changed since"


@pytest.mark.parametrize(("change", "words"), LOST.values(), ids=LOST)
def test_a_column_that_is_lost_stops_the_run_and_the_next_with_what_to_do(
    names: TableNames, change: Change, words: str
) -> None:
    committer = open_committer(names)
    receipt = sink(committer).write(batch(0, range(5, 9)))
    change(plain(names))
    with pytest.raises(SchemaChangedError):
        committer.commit([receipt])
    for refused in (committer.refit, lambda: open_committer(names)):
        with pytest.raises(RefusedError, match=words):
            refused()
    assert read(names.vectors) == positions(0, [0, 2, 3, 4])


def test_nulls_for_a_column_that_takes_none_are_refused_with_a_line_and_not_with_a_retry(names: TableNames) -> None:
    plain(names).alter_columns({"path": "label", "nullable": False})
    rows = batch(0, range(5, 9))
    rows = rows.set_column(rows.schema.get_field_index("label"), KEPT[0], pa.array(["a", None, "c", "d"]))
    with pytest.raises(RefusedError, match=r'label takes no nulls there.*id-0-6.*"path": "label", "nullable": True'):
        sink(open_committer(names)).write(rows)


def test_the_failures_table_is_looked_at_as_well(names: TableNames) -> None:
    committer = open_committer(names)
    receipt = sink(committer).write(batch(0, range(5, 9), failed=[6]))
    plain(names, "photos__failures").add_columns({"seen": "false"})
    with pytest.raises(SchemaChangedError, match=r"photos__failures.*seen"):
        committer.commit([receipt])
    with pytest.raises(RefusedError, match=r"photos__failures.*\n.*seen: in the table.*photos__failures"):
        committer.refit()
    assert read(names.failures) == positions(0, [1])


def test_a_retry_is_held_to_both_schemas_and_loses_no_row(names: TableNames) -> None:
    committer = open_committer(names)
    receipt = sink(committer).write(batch(0, [1]))
    ANEW["dropped and added again"](plain(names))
    with pytest.raises(SchemaChangedError):
        committer.move([receipt])
    assert (read(names.vectors), read(names.failures)) == (positions(0, [0, 2, 3, 4]), positions(0, [1]))
    assert committer.refit()
    committer.move([sink(committer).write(batch(0, [1]))])
    assert labels(names)[1] == "l1"
    assert not read(names.failures)


def test_a_table_without_fragments_is_looked_at_as_well(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    committer = open_committer(names)
    receipt = sink(committer).write(batch(0, range(5)))
    ANEW["dropped and added again"](plain(names))
    with pytest.raises(SchemaChangedError):
        committer.commit([receipt])


def test_fields_and_types_and_nulls_of_kept_columns_are_those_of_the_table() -> None:
    there = pa.schema([pa.field("n", pa.int64()), pa.field("x", pa.float64()), pa.field("b", pa.large_binary())])
    ours = pa.schema([pa.field("n", pa.uint32()), pa.field("x", pa.float32()), pa.field("b", pa.binary())])
    assert fit_schema("/lake/t.lance", there, ours).schema == there
    for name, kind in {"n": pa.uint64(), "x": pa.int64(), "b": pa.string()}.items():
        narrower = ours.set(ours.get_field_index(name), pa.field(name, kind))
        with pytest.raises(RefusedError, match=f"{name}: {there.field(name).type} in the table, {kind} in this run"):
            fit_schema("/lake/t.lance", there, narrower)


def test_a_derived_column_of_another_meaning_is_left_out_and_never_written() -> None:
    codes = pa.field("codes", pa.list_(pa.uint8(), 1), metadata={SPACE_KEY: '{"q": "old"}', REDUCTION_KEY: "{}"})
    anew = codes.with_metadata({SPACE_KEY: '{"q": "new"}', REDUCTION_KEY: "{}"})
    ours = SCHEMA.append(codes)
    for there in (SCHEMA, SCHEMA.append(anew), SCHEMA.append(codes.with_type(pa.list_(pa.uint8(), 2)))):
        fit = fit_schema("/lake/t.lance", there, ours)
        assert fit.left_out == ("codes",)
        assert fit.schema.equals(SCHEMA, check_metadata=True)
    assert not fit_schema("/lake/t.lance", ours, ours).left_out
