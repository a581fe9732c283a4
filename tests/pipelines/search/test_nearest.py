"""Nearest rows in columns of each precision, against NumPy over all rows; rescoring; rows without a vector; lists."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vector_field, vectors_from_numpy
from operators.storage.artifacts import write_artifact
from operators.vectors.codecs import FITTED, fit_codec
from operators.vectors.float_codes import cosines
from pipelines.search.column import SearchColumn, search_column
from pipelines.search.nearest import Probe, nearest, take_rows
from pipelines.search.scan import scan
from pipelines.space.field import REDUCTION_KEY
from pipelines.space.reduction import ReduceVectors, Reduction, reduction_chain

DIM, ROWS, K = 32, 1500, 10
PRECISIONS = ("float32", "float16", "int8", "binary", "pq")


def unit(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(30, DIM))
    vectors = centres[rng.integers(0, 30, count)] + rng.normal(size=(count, DIM)) * 0.5
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = unit(ROWS, 0)
LENGTHS = np.random.default_rng(1).integers(0, 4, 500)


def derived(folder: Path, precision: Any, base: pa.Array) -> tuple[pa.Field, pa.Array]:
    ref = None
    if precision in FITTED:
        ref = write_artifact(fit_codec(precision, VECTORS, pq_bytes=8, space={}), str(folder))
    reduction = Reduction(base="vector", base_dim=DIM, precision=precision, quantizer=ref, pq_bytes=8)
    name = f"vector_{precision}"
    made, reasons = ReduceVectors(reduction_chain(reduction, name), "vector", name)(base)
    assert not reasons
    return pa.field(name, made.type, metadata={REDUCTION_KEY: reduction.model_dump_json().encode()}), made


def table(folder: Path, base: pa.Array, field: pa.Field) -> Any:
    columns = [(field, base), *(derived(folder, precision, base) for precision in PRECISIONS)]
    ids = pa.array(range(len(base)), pa.int64())
    rows = pa.table(
        [ids, *(values for _, values in columns)], schema=pa.schema([("n", pa.int64()), *(f for f, _ in columns)])
    )
    written = lance.write_dataset(rows, folder / "t.lance", max_rows_per_file=400, enable_stable_row_ids=True)
    written.delete("n = 3")
    return lance.dataset(written.uri)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Any:
    valid = np.ones(ROWS, bool)
    valid[7] = False
    return table(tmp_path_factory.mktemp("single"), vectors_from_numpy(VECTORS, valid), vector_field(DIM, pa.float32()))


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Any:
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int32)
    vectors = pa.ListArray.from_arrays(pa.array(offsets), vectors_from_numpy(VECTORS[: offsets[-1]]))
    return table(tmp_path_factory.mktemp("lists"), vectors, pa.field("vector", vectors.type))


def column_of(dataset: Any, name: str) -> SearchColumn:
    return search_column(dataset.schema.field(name))


def numbers(dataset: Any, row_ids: np.ndarray) -> list[int]:
    found: list[int] = take_rows(dataset, row_ids, ["n"])["n"].to_pylist()
    return found


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_k_best_by_the_codes_in_order(single: Any, precision: str) -> None:
    column = column_of(single, f"vector_{precision}")
    [query] = column.queries(unit(1, 5))
    found = nearest(single, column, query[None], K)
    there = np.array([n for n in range(ROWS) if n not in (3, 7)])
    scores = column.codec.scores(query[None], column.codec.encode(VECTORS[there]))[0]
    np.testing.assert_allclose(found.scores, -np.sort(-scores)[:K], atol=1e-6)
    best = numbers(single, found.row_ids)
    np.testing.assert_allclose(scores[np.searchsorted(there, best)], found.scores, atol=1e-6)
    assert len(set(best)) == K


@pytest.mark.parametrize("precision", ["int8", "binary", "pq"])
def test_rescored_candidates_have_exact_scores(single: Any, precision: str) -> None:
    coarse, fine = column_of(single, f"vector_{precision}"), column_of(single, "vector")
    query = unit(1, 5)
    found = nearest(single, coarse, coarse.queries(query), K, rescore=(fine, query), candidates=200)
    best = numbers(single, found.row_ids)
    np.testing.assert_allclose(found.scores, cosines(query, VECTORS[best])[0], atol=1e-6)
    exact = nearest(single, fine, query, K)
    alone = nearest(single, coarse, coarse.queries(query), K)
    kept = len(set(best) & set(numbers(single, exact.row_ids)))
    assert kept >= len(set(numbers(single, alone.row_ids)) & set(numbers(single, exact.row_ids)))
    assert kept >= 9


@pytest.mark.parametrize("precision", PRECISIONS)
def test_filters_come_before_the_search(single: Any, precision: str) -> None:
    column = column_of(single, f"vector_{precision}")
    found = nearest(single, column, column.queries(unit(1, 5)), K, where="n < 20")
    assert len(found.row_ids) == K
    assert max(numbers(single, found.row_ids)) < 20


def test_fewer_rows_than_asked_for_are_all_of_them(single: Any) -> None:
    for precision in PRECISIONS:
        column = column_of(single, f"vector_{precision}")
        found = nearest(single, column, column.queries(unit(1, 5)), 50, where="n < 8")
        assert sorted(numbers(single, found.row_ids)) == [0, 1, 2, 4, 5, 6]


def test_many_queries_in_one_scan(single: Any) -> None:
    column, queries = column_of(single, "vector_int8"), unit(20, 5)
    together = scan(single, column, [query[None] for query in queries], K)
    for query, found in zip(queries, together, strict=True):
        alone = scan(single, column, [query[None]], K)[0]
        np.testing.assert_array_equal(found.row_ids, alone.row_ids)


def test_an_index_is_used_and_exact_passes_it_by(single: Any, tmp_path: Path) -> None:
    copy = lance.write_dataset(single.to_table(), tmp_path / "t.lance", enable_stable_row_ids=True)
    # Lance trains centroids from a random start, with which one partition now and then held every neighbour.
    copy.create_index("vector_float32", "IVF_FLAT", num_partitions=30, metric="cosine", ivf_centroids=VECTORS[:30])
    column, queries = column_of(copy, "vector_float32"), unit(20, 5)

    def found(probe: Probe) -> list[set[int]]:
        return [set(nearest(copy, column, query[None], K, probe=probe).row_ids) for query in queries]

    exact = found(Probe(exact=True))
    assert found(Probe(nprobes=30)) == exact
    assert found(Probe(nprobes=1)) != exact


@pytest.mark.parametrize("count", [1, 3])
def test_rows_of_no_vectors_come_last_with_the_least_score(lists: Any, count: int) -> None:
    [found] = scan(lists, column_of(lists, "vector_int8"), [unit(count, 5)], len(LENGTHS))
    empty = LENGTHS[numbers(lists, found.row_ids)] == 0
    assert 0 < empty.sum() < len(empty) == len(LENGTHS) - 1
    assert (found.scores[empty] == -1).all()
    assert not empty[: len(empty) - empty.sum()].any()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("count", [1, 3])
def test_rows_of_several_vectors_score_by_their_best(lists: Any, precision: str, count: int) -> None:
    column, base = column_of(lists, f"vector_{precision}"), unit(count, 5)
    queries = column.queries(base)
    found = nearest(lists, column, queries, K)
    ends = np.cumsum(LENGTHS)
    scores = column.codec.scores(queries, column.codec.encode(VECTORS[: ends[-1]]))
    expected = {
        row: scores[:, ends[row] - LENGTHS[row] : ends[row]].max(1).mean() for row in range(500) if LENGTHS[row]
    }
    expected.pop(3, None)
    best = sorted(expected.values(), reverse=True)[:K]
    np.testing.assert_allclose(found.scores, best, atol=1e-5)
    np.testing.assert_allclose([expected[n] for n in numbers(lists, found.row_ids)], found.scores, atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_of_several_vectors_finds_itself(lists: Any, precision: str) -> None:
    column = column_of(lists, f"vector_{precision}")
    row = next(n for n in range(10, 500) if LENGTHS[n] == 3)
    end = int(LENGTHS[: row + 1].sum())
    found = nearest(lists, column, column.queries(VECTORS[end - 3 : end]), 1)
    assert numbers(lists, found.row_ids) == [row]
    assert found.scores[0] > (0.75 if precision == "pq" else 0.999)


@pytest.mark.parametrize("marked", [3, 700])
def test_rows_that_are_marked_as_deleted_are_left_out_however_many_lie_nearest(
    single: Any, tmp_path: Path, marked: int
) -> None:
    """Few of them cost a wider search; where they are all around, a filter."""
    order = np.argsort(-(VECTORS @ VECTORS[20]))
    gone = set(order[:marked].tolist())
    rows = single.to_table()
    times = [datetime(2026, 11, 29, tzinfo=UTC) if n in gone else None for n in rows["n"].to_pylist()]
    rows = rows.append_column("deleted_at", pa.array(times, pa.timestamp("us", tz="UTC")))
    copy = lance.write_dataset(rows, tmp_path / "marked.lance", max_rows_per_file=400)
    left = [n for n in order.tolist() if n not in {*gone, 3, 7}]
    for name in ("vector", "vector_int8"):
        column = column_of(copy, name)
        query = column.queries(VECTORS[20][None])
        found = numbers(copy, nearest(copy, column, query, K, marked_too=False).row_ids)
        assert not gone & set(found)
        assert len(set(found) & set(left[:K])) >= (K if name == "vector" else K - 3)
        assert len(nearest(copy, column, query, K, where="n < 1400", marked_too=False).row_ids) == K
    assert set(numbers(copy, nearest(copy, column_of(copy, "vector"), VECTORS[20][None], K).row_ids)) & gone
