"""Queries are timed in a table of so many rows as are asked for, by every way of storing vectors, and an index is built
where one is needed."""

from pathlib import Path

import lance
import numpy as np
import pytest

from operators.vectors.codecs import fit_codec, make_codec
from pipelines.evaluation import query_times as module
from pipelines.evaluation.query_times import QueryTimes, StoredForm, query_times, rows_like
from pipelines.table.table import Table

GIVEN, ROWS, DIM = 300, 1200, 64


def unit(vectors: np.ndarray) -> np.ndarray:
    made: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return made


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return unit(np.random.default_rng(3).normal(size=(GIVEN, DIM)).astype(np.float32))


@pytest.fixture(scope="module")
def forms(vectors: np.ndarray) -> list[StoredForm]:
    int8, binary = (
        make_codec(each, DIM, fit_codec(each, vectors, pq_bytes=0, space={})) for each in ("int8", "binary")
    )
    return [
        StoredForm(name="float16", codec=make_codec("float16", DIM), shorten=lambda full: full),
        StoredForm(name="first 16", codec=make_codec("float16", 16), shorten=lambda full: unit(full[:, :16])),
        StoredForm(name="int8", codec=int8, shorten=lambda full: full),
        StoredForm(name="binary", codec=binary, shorten=lambda full: full),
        StoredForm(name="binary, rescored", codec=binary, shorten=lambda full: full, rescored=True),
    ]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return Table.of(str(tmp_path_factory.mktemp("queried") / "lake" / "made"))


@pytest.fixture(scope="module")
def found(table: Table, vectors: np.ndarray, forms: list[StoredForm]) -> QueryTimes:
    with pytest.MonkeyPatch.context() as patch:
        # As if these few bytes were many.
        patch.setattr("pipelines.index.plan.ENOUGH_TO_COMPARE", 2 * DIM * ROWS)
        return query_times(table, vectors, forms, rows=ROWS, queries=20, seed=0)


def test_each_way_is_timed_in_a_table_of_all_rows(found: QueryTimes, table: Table, forms: list[StoredForm]) -> None:
    assert list(found.forms) == [form.name for form in forms]
    assert all(each.queries == 20 for each in found.forms.values())
    assert all(0 < each.latency.p50_ms <= each.latency.p99_ms for each in found.forms.values())
    stored = lance.dataset(table.uri)
    assert stored.count_rows() == found.rows == ROWS
    widths = [(field.type.list_size, str(field.type.value_type)) for field in stored.schema]
    assert widths == [(64, "halffloat"), (16, "halffloat"), (64, "int8"), (8, "uint8"), (8, "uint8")]


def test_an_index_is_the_one_that_would_be_built_and_is_searched(found: QueryTimes) -> None:
    assert found.index is not None
    assert found.index.type.startswith("IVF_")
    assert found.index.recall >= module.TARGET
    assert found.index.size_bytes > 0
    assert found.index.time.queries == 20


def test_few_vectors_need_no_index(tmp_path: Path, vectors: np.ndarray, forms: list[StoredForm]) -> None:
    few = query_times(Table.of(f"{tmp_path}/made"), vectors, forms[:1], rows=GIVEN, queries=5, seed=0)
    assert (few.index, few.no_index) == (None, "none needed")
    assert few.forms["float16"].queries == 5


def test_made_rows_begin_with_the_given_ones_and_are_of_unit_length(vectors: np.ndarray) -> None:
    made = np.concatenate(list(rows_like(vectors, ROWS, 0)))
    assert made.shape == (ROWS, DIM)
    assert np.array_equal(made[:GIVEN], vectors)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    # Half to all of one of them: nearer to it than half a right angle.
    assert ((made @ vectors.T).max(axis=1) > 0.6).all()
    assert np.array_equal(made, np.concatenate(list(rows_like(vectors, ROWS, 0))))
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    assert np.isfinite(np.concatenate(list(rows_like(opposite, 500, 0)))).all()
