"""The sample of rows: by position, so it survives what other tools do to a table."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from made.two_columns import NEW, OLD, unit, write
from pipelines.gate.rows import rows_with, sample_rows
from pipelines.scan.live import live_rows


def test_the_sample_is_the_same_after_a_compaction_and_shrinks_by_what_is_deleted(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(400, 4)))
    table = write(tmp_path, vectors, vectors, without=range(0, 400, 2), deleted=[1, 3])
    dataset = table.latest()
    where = rows_with(dataset.schema, [OLD, NEW])
    before = sample_rows(dataset, [OLD], where, 30, 0)
    ids = before["id"].to_pylist()
    assert len(ids) == 30
    assert all(int(each[1:]) % 2 and each not in ("i1", "i3") for each in ids)
    assert np.array_equal(np.stack(before[OLD].to_numpy()), vectors[[int(each[1:]) for each in ids]])
    dataset.delete(f"id = '{ids[0]}'")
    dataset.optimize.compact_files()
    after = sample_rows(table.latest(), [OLD], where, 30, 0)["id"].to_pylist()
    assert len(set(after) - set(ids)) == 1
    assert set(ids) - set(after) == {ids[0]}
    assert set(sample_rows(table.latest(), [OLD], where, 30, 1)["id"].to_pylist()) != set(after)


def test_a_table_without_marks_has_live_rows_alone(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(8, 4)))
    schema = write(tmp_path, vectors, vectors).latest().schema
    assert live_rows(schema) is None
    assert live_rows(schema.append(pa.field("deleted_at", pa.bool_()))) is None
    assert rows_with(schema, [OLD]) == "`vector` IS NOT NULL"


def test_where_no_row_matches_the_sample_is_empty(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(8, 4)))
    dataset = write(tmp_path, vectors, vectors, without=range(8)).latest()
    rows = sample_rows(dataset, [OLD, NEW], rows_with(dataset.schema, [NEW]), 5, 0)
    assert len(rows) == 0
    assert {"id", "_rowid", OLD, NEW} <= set(rows.column_names)
