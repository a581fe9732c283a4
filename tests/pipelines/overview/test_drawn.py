"""Rows that stand for a table: those that are there, the same ones again, and more of them with a larger sample."""

import datetime
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from operators.base.columns import DELETED_AT
from pipelines.overview.drawn import draw_row_ids, take_columns

ROWS = 1000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("drawn") / "rows.lance"
    marks = [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) if row % 4 == 0 else None for row in range(ROWS)]
    table = pa.table({"number": pa.array(range(ROWS)), DELETED_AT.name: pa.array(marks, DELETED_AT.type)})
    return lance.write_dataset(table, path, max_rows_per_file=128)


def numbers(dataset: Any, row_ids: np.ndarray) -> list[int]:
    found: list[int] = take_columns(dataset, row_ids, ["number"])["number"].to_pylist()
    return found


def test_rows_that_are_marked_as_deleted_are_not_drawn_and_not_counted(dataset: Any) -> None:
    row_ids, count = draw_row_ids(dataset, ROWS)
    assert count == ROWS * 3 // 4
    assert numbers(dataset, row_ids) == [row for row in range(ROWS) if row % 4]


def test_only_rows_of_the_condition_are_drawn(dataset: Any) -> None:
    row_ids, count = draw_row_ids(dataset, 10, where="number < 40 OR number >= 990")
    assert count == 30 + 8
    assert len(row_ids) == 10
    assert all(row < 40 or row >= 990 for row in numbers(dataset, row_ids))


def test_a_larger_sample_holds_the_smaller_one_and_another_seed_draws_others(dataset: Any) -> None:
    small, large = (set(draw_row_ids(dataset, count)[0].tolist()) for count in (50, 200))
    assert len(small) == 50
    assert small < large
    assert draw_row_ids(dataset, 50)[0].tolist() == sorted(small)
    assert set(draw_row_ids(dataset, 50, seed=1)[0].tolist()) != small


def test_the_draw_is_spread_over_the_table(dataset: Any) -> None:
    drawn = numbers(dataset, draw_row_ids(dataset, 200)[0])
    assert [30 <= sum(start <= row < start + 250 for row in drawn) <= 70 for start in range(0, ROWS, 250)] == [True] * 4


def test_of_no_rows_none_are_drawn(dataset: Any) -> None:
    row_ids, count = draw_row_ids(dataset, 5, where="number < 0")
    assert (len(row_ids), count, numbers(dataset, row_ids)) == (0, 0, [])
