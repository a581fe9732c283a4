"""Rows whose vector is null, zeros or not finite: no search finds them, no job trips over them, all are counted."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from jobs import describe as describe_job
from jobs.describe import DescribeConfig, as_text
from jobs.describe import run as describe
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.index import IndexConfig
from jobs.index import as_text as index_text
from jobs.index import run as index
from jobs.search import SearchConfig
from jobs.search import run as search
from made import vectors as made_vectors
from made.vectors import append, clustered
from operators.base.arrays import vectors_from_numpy
from operators.base.errors import UserError
from pipelines.index.exact import draw_queries
from pipelines.space.samples import sample_vectors
from pipelines.space.usable_rows import row_kinds, usable_rows

ROWS, DIM = 300, 16
ZEROS, NOT_FINITE, NULL = (5, 6, 7), (20, 21, 22, 23), (40, 41)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    vectors = clustered(ROWS, DIM)
    vectors[list(ZEROS)] = 0
    vectors[20, 3], vectors[21, 4], vectors[22, 0], vectors[23] = np.nan, np.inf, -np.inf, np.nan
    there = np.ones(ROWS, bool)
    there[list(NULL)] = False
    name = str(tmp_path_factory.mktemp("directions") / "lake" / "photos")
    append(name, made_vectors.rows_of(vectors_from_numpy(vectors, there), 0), fragments=3)
    failures = pa.schema([("id", pa.string()), ("shard", pa.int32()), ("row", pa.int32())])
    lance.write_dataset(failures.empty_table(), f"{name}__failures.lance")
    return name


@pytest.mark.parametrize("element", ["f2", "f4"])
def test_kinds_of_rows_are_told_by_their_numbers_alone(element: str) -> None:
    least = np.finfo(element).smallest_subnormal
    numbers = [[0, 0], [0.0, -0.0], [least, 0], [-least, 0], [np.finfo(element).max, 1]]
    numbers += [[np.nan, 0], [1, np.inf], [-np.inf, 0]]
    kinds = row_kinds(vectors_from_numpy(np.array(numbers, element)))
    assert kinds.zeros.tolist() == [True, True, *[False] * 6]
    assert kinds.not_finite.tolist() == [*[False] * 5, True, True, True]
    assert not kinds.nothing.any()


def test_one_bad_vector_of_several_hides_its_row() -> None:
    vectors = np.array([[1, 2], [0, 0], [3, 4], [np.nan, 0], [5, 6]], "f4")
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 4, 4, 5], pa.int32()), vectors_from_numpy(vectors))
    assert usable_rows(lists, "cosine").tolist() == [False, False, False, True]
    assert usable_rows(lists, "dot").tolist() == [True, False, False, True]


@pytest.mark.parametrize(("kind", "metric"), [("IVF_FLAT", "cosine"), ("IVF_PQ", "l2"), ("IVF_FLAT", "dot")])
def test_an_index_is_built_and_says_what_is_not_in_it(table: str, kind: str, metric: str, tmp_path: Path) -> None:
    options = {"table": table, "type": kind, "metric": metric, "num_partitions": 4, "queries": 40, "nprobes": 4}
    options |= {"num_bits": 4, "refine": 20} if kind == "IVF_PQ" else {}
    built = index(IndexConfig.model_validate({**options, "cluster": {"executor": "local"}}))
    lacking = len(NOT_FINITE) + (len(ZEROS) if metric == "cosine" else 0)
    assert (built.status, built.without_vector, built.without_direction) == ("built", len(NULL), lacking)
    assert f"not in it  2 rows without a vector, {lacking} without a direction" in index_text(built)
    found = search(SearchConfig(table=table, id="i100", k=ROWS, exact=True)).results
    assert len(found) == ROWS - len(NULL) - lacking
    if kind == "IVF_PQ":
        return
    [group] = evaluate(EvaluateConfig(table=table, queries=40, timing_queries=0)).models
    assert group.rows == ROWS - len(NULL) - lacking
    assert [each.recall for each in group.ways] == [{1: 1.0, 10: 1.0, 100: 1.0}] * 2


def test_no_query_and_no_sample_is_without_a_direction(table: str) -> None:
    dataset = lance.dataset(f"{table}.lance")
    assert len(draw_queries(dataset, "vector", ROWS, 0)) == ROWS - 9
    sample = sample_vectors(dataset, "vector", ROWS)
    assert (len(sample), bool(np.isfinite(sample).all())) == (ROWS - len(NULL) - len(NOT_FINITE), True)


@pytest.mark.parametrize("row", [5, 20, 21])
def test_a_row_without_a_direction_is_no_query(table: str, row: int) -> None:
    dataset = lance.dataset(f"{table}.lance")
    for each in dataset.describe_indices():
        dataset.drop_index(each.name)
    with pytest.raises(UserError, match=rf"row 'i{row}' has zeros alone, or a number that is not finite, in vector"):
        search(SearchConfig(table=table, id=f"i{row}"))


def test_describe_counts_them_by_reading_all(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    described = describe(DescribeConfig(table=table))
    column = described.vector_columns["vector"]
    assert (column.without_vector, column.without_direction) == (len(NULL), len(ZEROS) + len(NOT_FINITE))
    assert "not found  vector: 2 rows without a vector" in as_text(described)
    assert "not found  vector: 7 rows without a direction" in as_text(described)
    monkeypatch.setattr(describe_job, "QUICKLY_READ", ROWS * DIM * 4 - 1)
    unread = describe(DescribeConfig(table=table))
    assert unread.vector_columns["vector"].without_direction is None
    assert "not counted" in as_text(unread)
    assert describe(DescribeConfig(table=table, check=True)).vector_columns["vector"].without_direction == 7
