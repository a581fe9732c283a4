"""A derived column: every row once, whatever is appended, compacted, deleted or killed meanwhile."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from made.derived import FIELD, embed, expected, first_half, held
from made.tables import DIM, SCHEMA, VECTOR, batch, lance_s3, names_in, open_committer, sink_of
from operators.base.arrays import vectors_from_numpy
from operators.storage.stores import StorageOptions
from pipelines.derivation import fragment
from pipelines.derivation.column import derive_column
from pipelines.table.errors import RefusedError, TableError
from pipelines.table.names import TableNames
from pipelines.table.table import Table


def once(happening: Callable[[], None]) -> Callable[[pa.Table], pa.Array]:
    """`first_half`, with something happening before its first answer."""
    waiting = [happening]

    def compute(rows: pa.Table) -> pa.Array:
        if waiting:
            waiting.pop()()
        return first_half(rows)

    return compute


def test_every_row_gets_its_value_and_nothing_else_changes(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(5))
    before = lance.dataset(names.vectors).to_table()
    progress: list[tuple[int, int]] = []
    report = derive_column(Table(names=names), FIELD, "vector", first_half, on_rows=lambda *rows: progress.append(rows))
    table = lance.dataset(names.vectors)
    assert held(names) == expected(range(5))
    assert table.to_table(columns=SCHEMA.names) == before
    assert (report.fragments, report.rows, report.impossible, report.commits) == (5, 200, 0, 1)
    assert report.version == table.version
    assert progress == [(200, 200)]
    assert table.schema.field("vector_4").metadata == FIELD.metadata


def test_progress_is_told_of_the_rows_that_are_there(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(2))
    lance.dataset(names.vectors).delete("`row` < 5")
    progress: list[tuple[int, int]] = []
    derive_column(Table(names=names), FIELD, "vector", first_half, on_rows=lambda *rows: progress.append(rows))
    assert progress == [(70, 70)]


def test_the_same_command_again_does_nothing(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(2))
    first = derive_column(Table(names=names), FIELD, "vector", first_half)
    again = derive_column(Table(names=names), FIELD, "vector", once(lambda: pytest.fail("computed again")))
    assert (again.version, again.rows, again.commits) == (first.version, 0, 0)


@pytest.mark.parametrize("batch_rows", [4096, 7])
def test_rows_that_were_deleted_keep_their_places(
    tmp_path: Path, batch_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fragment, "BATCH_ROWS", batch_rows)
    names = names_in(tmp_path)
    embed(names, range(3))
    gone = [(0, 0), (1, 20), (1, 21), (2, 39)]
    where = " OR ".join(f"(shard = {shard} AND row = {row})" for shard, row in gone)
    lance.dataset(names.vectors).delete(where)
    late = once(lambda: lance.dataset(names.vectors).delete("shard = 1 AND row = 7"))
    report = derive_column(Table(names=names), FIELD, "vector", late)
    left = expected(range(3))
    for position in [*gone, (1, 7)]:
        del left[position]
    assert held(names) == left
    assert report.rows == 115, "a row that was deleted later is not counted: one that was updated has moved and is"


def test_impossible_and_missing_vectors_stay_null_and_are_told(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    committer, sink = open_committer(names), sink_of(names)
    rows = batch(0, range(30))
    vectors = np.stack(rows["vector"].to_numpy(zero_copy_only=False)).astype("f2")
    vectors[[3, 7], :4] = 0
    index = rows.schema.get_field_index("vector")
    committer.commit([sink.write(rows.set_column(index, VECTOR, vectors_from_numpy(vectors)))])
    lance.dataset(names.vectors).update({"vector": "NULL"}, where="row = 11")
    report = derive_column(Table(names=names), FIELD, "vector", first_half)
    assert {row for (_, row), value in held(names).items() if value is None} == {3, 7, 11}
    assert (report.rows, report.impossible, report.without_source) == (27, 2, 1)
    assert report.impossible_ids == ("id-0-3", "id-0-7")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_leaves_its_row_null_and_is_told(tmp_path: Path, bad: float) -> None:
    names = names_in(tmp_path)
    committer, sink = open_committer(names), sink_of(names)
    rows = batch(0, range(30))
    vectors = np.stack(rows["vector"].to_numpy(zero_copy_only=False)).astype("f2")
    vectors[5, DIM - 1] = bad
    index = rows.schema.get_field_index("vector")
    committer.commit([sink.write(rows.set_column(index, VECTOR, vectors_from_numpy(vectors)))])
    report = derive_column(Table(names=names), FIELD, "vector", first_half)
    assert {row for (_, row), value in held(names).items() if value is None} == {5}
    assert (report.rows, report.not_finite, report.impossible, report.without_source) == (29, 1, 0, 0)


def regions(folder: Path, vectors: pa.Array) -> TableNames:
    names = names_in(folder)
    ids = [f"a#{index}" for index in range(len(vectors))]
    rows = pa.table({"id": ["a"] * len(ids), "region_id": ids, "vector": vectors})
    lance.write_dataset(rows, names.vectors, max_rows_per_file=2)
    return names


def test_rows_of_regions_are_told_by_the_region(tmp_path: Path) -> None:
    vectors = np.ones((5, DIM), "f2")
    vectors[3, :4] = 0
    report = derive_column(Table(names=regions(tmp_path, vectors_from_numpy(vectors))), FIELD, "vector", first_half)
    assert report.impossible_ids == ("a#3",)


def test_a_column_of_several_vectors_a_row(tmp_path: Path) -> None:
    lists = [[[n + k] * DIM for k in range(n)] for n in range(5)]
    names = regions(tmp_path, pa.array(lists, pa.list_(pa.list_(pa.float16(), DIM))))
    field = pa.field("vector_4", pa.list_(FIELD.type))

    def compute(rows: pa.Table) -> pa.Array:
        return pa.array([[vector[:4] for vector in row] for row in rows["vector"].to_pylist()], field.type)

    assert derive_column(Table(names=names), field, "vector", compute).rows == 5
    halves = [[vector[:4] for vector in row] for row in lists]
    assert lance.dataset(names.vectors).to_table()["vector_4"].to_pylist() == halves
    assert derive_column(Table(names=names), field, "vector", compute).commits == 0
    lance.dataset(names.vectors).optimize.compact_files()
    assert derive_column(Table(names=names), field, "vector", compute).commits == 0


def test_rows_appended_meanwhile_are_filled_too(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(3))
    committer = open_committer(names)
    appended = once(lambda: committer.commit([sink_of(names).write(batch(3, range(40)))]) and None)
    report = derive_column(Table(names=names), FIELD, "vector", appended)
    assert held(names) == expected(range(4))
    assert (report.fragments, report.rows) == (4, 160)


def test_rows_that_are_updated_meanwhile_are_counted_once(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(3))
    table = lance.dataset(names.vectors)
    table.update({"vector": "NULL"}, where="shard = 0 AND row = 30")
    updated = once(lambda: lance.dataset(names.vectors).update({"label": "'new'"}, where="row < 10") and None)
    report = derive_column(Table(names=names), FIELD, "vector", updated)
    assert [key for key, value in held(names).items() if value is None] == [(0, 30)]
    assert (report.rows, report.without_source) == (119, 1)


def test_a_compaction_meanwhile_is_planned_around(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(4))
    report = derive_column(
        Table(names=names),
        FIELD,
        "vector",
        once(lambda: lance.dataset(names.vectors).optimize.compact_files() and None),
    )
    assert held(names) == expected(range(4))
    assert (report.fragments, report.rows) == (1, 160)


def test_what_a_compaction_joined_to_filled_rows_is_found_and_filled(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(2))
    derive_column(Table(names=names), FIELD, "vector", first_half)
    embed(names, range(2, 4))
    lance.dataset(names.vectors).optimize.compact_files()
    assert len(lance.dataset(names.vectors).get_fragments()) == 1
    assert sum(value is None for value in held(names).values()) == 80
    derive_column(Table(names=names), FIELD, "vector", first_half)
    assert held(names) == expected(range(4))
    lance.dataset(names.vectors).optimize.compact_files()
    version = lance.dataset(names.vectors).version
    again = derive_column(Table(names=names), FIELD, "vector", first_half)
    assert (again.version, again.rows) == (version, 0)


def test_impossible_rows_alone_write_nothing_again_after_a_compaction(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(2), rows=10)

    def nothing(rows: pa.Table) -> pa.Array:
        return pa.nulls(rows.num_rows, FIELD.type)

    derive_column(Table(names=names), FIELD, "vector", nothing)
    lance.dataset(names.vectors).optimize.compact_files()
    again = derive_column(Table(names=names), FIELD, "vector", nothing)
    assert (again.fragments, again.impossible, again.commits) == (0, 20, 0)


def test_two_drivers_publish_each_fragment_once(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(3))
    other: list[Any] = []
    late = derive_column(
        Table(names=names),
        FIELD,
        "vector",
        once(lambda: other.append(derive_column(Table(names=names), FIELD, "vector", first_half))),
    )
    assert (other[0].rows, late.rows, late.fragments) == (120, 0, 0)
    assert held(names) == expected(range(3))
    assert [len(f.metadata.files) for f in lance.dataset(names.vectors).get_fragments()] == [2, 2, 2]


def test_a_table_without_rows_gets_the_column(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    open_committer(names)
    assert derive_column(Table(names=names), FIELD, "vector", first_half).rows == 0
    embed(names, range(1))
    assert derive_column(Table(names=names), FIELD, "vector", first_half).rows == 40
    assert held(names) == expected(range(1))


def test_a_column_of_another_meaning_is_refused(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(1))
    derive_column(Table(names=names), FIELD, "vector", first_half)
    with pytest.raises(RefusedError, match=r"another meaning \(made.by\)"):
        derive_column(Table(names=names), FIELD.with_metadata({b"made.by": b"other"}), "vector", first_half)
    with pytest.raises(RefusedError, match="vector_4 already"):
        derive_column(Table(names=names), FIELD.with_type(pa.list_(pa.float16(), 3)), "vector", first_half)
    with pytest.raises(RefusedError, match="no column 'nothing'; there: id, uri"):
        derive_column(Table(names=names), FIELD.with_name("more"), "nothing", first_half)
    with pytest.raises(RefusedError, match="there is no table"):
        derive_column(Table(names=names_in(tmp_path / "other")), FIELD, "vector", first_half)


def test_a_source_that_is_not_filled_itself_is_refused(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(2))
    derive_column(Table(names=names), FIELD, "vector", first_half)
    embed(names, range(2, 3))
    with pytest.raises(RefusedError, match="vector_4 is not filled itself in 1 of 3 fragments"):
        derive_column(Table(names=names), FIELD.with_name("vector_2"), "vector_4", first_half)


def test_a_column_that_is_dropped_meanwhile_ends_it(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(2))
    with pytest.raises(TableError, match="vector_4 was dropped"):
        derive_column(
            Table(names=names),
            FIELD,
            "vector",
            once(lambda: lance.dataset(names.vectors).drop_columns(["vector_4"]) and None),
        )
    assert lance.dataset(names.vectors).to_table(columns=SCHEMA.names).num_rows == 80


SLOW = """
import sys, time
from made.derived import FIELD, first_half
from pipelines.derivation import column
from pipelines.table.table import Table

def slowly(rows):
    time.sleep(0.1)
    return first_half(rows)

column._ROWS_PER_TASK = 1
column.derive_column(Table.of(sys.argv[1]), FIELD, "vector", slowly, commit_interval_s=0.0)
"""


@pytest.mark.kill
def test_a_killed_driver_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    names = names_in(tmp_path)
    embed(names, range(12))
    driver = subprocess.Popen(
        [sys.executable, "-c", SLOW, f"{tmp_path}/photos"], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    try:
        first = lance.dataset(names.vectors).version
        deadline = time.monotonic() + 60
        while lance.dataset(names.vectors).version < first + 4:
            assert driver.poll() is None, "the driver ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        driver.kill()
        driver.wait()
    filled = sum(value is not None for value in held(names).values())
    assert 0 < filled < 480
    calls: list[int] = []

    def counted(rows: pa.Table) -> pa.Array:
        calls.append(rows.num_rows)
        return first_half(rows)

    report = derive_column(Table(names=names), FIELD, "vector", counted)
    assert sum(calls) == report.rows == 480 - filled, "what was committed is not computed again"
    assert held(names) == expected(range(12))


@pytest.mark.s3
def test_on_s3(s3: Any) -> None:
    names = names_in(f"s3://{s3.bucket('derive')}/lake")
    storage = StorageOptions(**s3.storage_options)
    embed(names, range(3), storage=storage)
    report = derive_column(Table(names=names, storage=storage), FIELD, "vector", first_half)
    assert report.rows == 120
    assert held(names, lance_s3(s3.storage_options)) == expected(range(3))
