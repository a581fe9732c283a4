"""Order, scores, --exact, --rescore and recall follow the metric of the column's index, against NumPy over all rows."""

from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest

from jobs import index, reduce
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.reports.evaluation import as_text as evaluated_text
from jobs.search import SearchConfig, SearchResult, as_text
from jobs.search import run as search
from made import vectors as made_vectors
from made.vectors import append
from operators.base.arrays import vectors_from_numpy
from operators.models.load import describe as describe_model
from operators.models.spec import parse_model_name
from operators.vectors.float_codes import cosines, float_scores
from pipelines.search.column import search_column
from pipelines.space.field import with_space

ROWS, DIM, K = 400, 16, 7
LOCAL = {"executor": "local"}
RANDOM = np.random.default_rng(7)
VECTORS = (RANDOM.normal(size=(ROWS, DIM)) * RANDOM.uniform(0.2, 5, (ROWS, 1))).astype("f4")
"""Of many lengths, so that each metric has neighbours of its own."""


def similarities(query: np.ndarray, metric: str) -> np.ndarray:
    if metric == "l2":
        return -np.sqrt(((VECTORS - query) ** 2).sum(1))
    products = VECTORS @ query
    return products if metric == "dot" else products / np.linalg.norm(VECTORS, axis=1) / np.linalg.norm(query)


def rows_of(vectors: np.ndarray, first: int = 0) -> pa.Table:
    """Of a model whose vectors are stored as they come."""
    rows = made_vectors.rows_of(vectors_from_numpy(vectors), first)
    described = describe_model(parse_model_name("null")).model_copy(update={"dim": DIM})
    field = with_space(rows.field("vector"), {"embed": {"family": "null"}, "normalize": {"l2": False}}, described)
    return rows.set_column(rows.schema.get_field_index("vector"), field, rows["vector"])


def make(folder: Path, vectors: np.ndarray = VECTORS) -> str:
    table = f"{folder}/lake/photos"
    append(table, rows_of(vectors), fragments=2)
    return table


def index_by(tool: str, table: str, metric: str, kind: str = "IVF_FLAT") -> None:
    if tool == "pixlake":
        wanted = {"table": table, "type": kind, "metric": metric, "num_partitions": 4, "queries": 20, "nprobes": 4}
        index.run(index.IndexConfig.model_validate({**wanted, "cluster": LOCAL}))
        return
    options = {"num_sub_vectors": 8} if "PQ" in kind else {}
    lance.dataset(f"{table}.lance").create_index("vector", kind, metric=metric, num_partitions=4, **options)


def found(table: str, row: int, **query: Any) -> SearchResult:
    return search(SearchConfig(table=table, id=f"i{row}", k=K, nprobes=4, **query))


def ids(result: SearchResult) -> list[str]:
    return [each["id"] for each in result.results]


@pytest.mark.parametrize("tool", ["pixlake", "lance"])
@pytest.mark.parametrize("metric", ["dot", "l2", "cosine"])
def test_rank_and_scores_are_those_of_the_index(metric: str, tool: str, tmp_path: Path) -> None:
    table = make(tmp_path)
    index_by(tool, table, metric)
    for row in (3, 4):
        scores = similarities(VECTORS[row], metric)
        right = np.argsort(-scores, kind="stable")[:K]
        for exact in (False, True):
            result = found(table, row, exact=exact)
            assert ids(result) == [f"i{each}" for each in right]
            np.testing.assert_allclose([each["score"] for each in result.results], scores[right], rtol=1e-4, atol=1e-4)
            assert result.metric == metric
    said = {"dot": "inner product (dot)", "l2": "minus the distance (l2)", "cosine": "cosine"}[metric]
    assert as_text(found(table, 3)).splitlines()[-1] == f"score: {said}"
    if metric != "cosine" and tool == "pixlake":
        [group] = evaluate(EvaluateConfig(table=table, queries=10, timing_queries=0)).models
        assert [(each.metric, set(each.recall.values())) for each in group.ways] == [(metric, {1.0})] * 2


def test_candidates_are_rescored_by_the_finer_columns_metric(tmp_path: Path) -> None:
    table = make(tmp_path)
    index_by("lance", table, "dot")
    reduce.run(reduce.ReduceConfig(table=table, column="vector_binary", quantize="binary", cluster=LOCAL))
    result = found(table, 3, column="vector_binary", rescore="vector", candidates=ROWS)
    scores = similarities(VECTORS[3], "dot")
    assert ids(result) == [f"i{each}" for each in np.argsort(-scores)[:K]]
    assert result.metric == "dot"
    coarse = found(table, 3, column="vector_binary")
    assert coarse.metric == "hamming"
    evaluation = evaluate(EvaluateConfig(table=table, queries=20, label="even"))
    [group] = evaluation.models
    assert {each.name: each.metric for each in group.ways} == {
        "vector": "dot",
        "vector IVF_FLAT": "dot",
        "vector_binary": "hamming",
        "vector_binary, rescored": "hamming",
    }
    assert all(0 < (each.mean_average_precision or 0.5) < 1 for each in group.ways)
    assert "vector           " in evaluated_text(evaluation)


@pytest.mark.parametrize("kind", ["IVF_PQ", "IVF_SQ"])
def test_scores_are_cosines_although_lance_gives_twice_the_distance(kind: str, tmp_path: Path) -> None:
    table = make(tmp_path)
    index_by("lance", table, "cosine", kind)
    nearest = {"column": "vector", "q": VECTORS[3], "k": K, "nprobes": 4}
    plain = lance.dataset(f"{table}.lance").to_table(columns=["id", "_distance"], nearest=nearest)
    by_id = {f"i{row}": score for row, score in enumerate(cosines(VECTORS[3:4], VECTORS)[0].tolist())}
    truth = np.array([by_id[each] for each in plain["id"].to_pylist()])[1:]
    twice = plain["_distance"].to_numpy()[1:] / (1 - truth)
    assert 1.5 < np.median(twice) < 2.5, "Lance's own: if this is 1, the trap is gone"
    for each in found(table, 3).results:
        assert each["score"] == pytest.approx(by_id[each["id"]], abs=1e-5)


def test_the_distance_of_a_copy_is_next_to_nothing() -> None:
    far = VECTORS[:50] * 100
    distances = -float_scores(far, far, "l2").diagonal()
    assert (distances <= 1e-6 * np.linalg.norm(far, axis=1)).all()


def test_rows_with_an_infinity_take_no_places(tmp_path: Path) -> None:
    vectors = VECTORS.copy()
    vectors[:9, 3], vectors[9, 1], vectors[10] = np.inf, np.nan, 0
    table = make(tmp_path, vectors)
    index_by("lance", table, "dot")
    # Unindexed rows are compared, as they come: those with an infinity would be the first by far.
    append(table, rows_of(vectors[:9], ROWS))
    scores = np.where(np.isfinite(vectors).all(1), np.where(np.isfinite(vectors), vectors, 0) @ VECTORS[20], -np.inf)
    for exact in (False, True):
        result = found(table, 20, exact=exact)
        assert ids(result) == [f"i{each}" for each in np.argsort(-scores)[:K]]


PRECISIONS = ("float32", "float16", "binary")


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> str:
    table = make(tmp_path_factory.mktemp("reduced"))
    cut = {"truncate_dim": 8, "allow_untrained_truncation": True}
    for precision in (*PRECISIONS, "int8"):
        options = {"table": table, "column": f"vector_{precision}", "quantize": precision, "cluster": LOCAL}
        reduce.run(reduce.ReduceConfig.model_validate(options | (cut if "float" in precision else {})))
    return table


@pytest.mark.parametrize("column", ["vector", *(f"vector_{precision}" for precision in PRECISIONS)])
def test_a_query_is_taken_to_a_plain_lancedb_search(reduced: str, column: str) -> None:
    field = lance.dataset(f"{reduced}.lance").schema.field(column)
    searched = search_column(field)
    queries = searched.lance_queries(VECTORS[3:6])
    table = lancedb.connect(str(Path(reduced).parent)).open_table("photos")
    for row, query in zip((3, 4, 5), queries, strict=True):
        plain = table.search(query, vector_column_name=column).distance_type(searched.metric).limit(K).to_list()
        assert plain[0]["id"] == f"i{row}"
        ours = found(reduced, row, column=column).results
        assert {each["id"] for each in ours[:3]} <= {each["id"] for each in plain}


def test_what_lance_cannot_search_is_said(reduced: str) -> None:
    column = search_column(lance.dataset(f"{reduced}.lance").schema.field("vector_int8"))
    with pytest.raises(ValueError, match="column vector_int8: holds codes, which Lance cannot compare"):
        column.lance_queries(VECTORS[:1])
