"""`pixlake evaluate`, every figure against NumPy and scikit-learn over all rows; indexes, regions, refusals, files."""

import json
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from jobs import index, reduce
from jobs.config.load import load_config
from jobs.describe import DescribeConfig
from jobs.describe import run as describe
from jobs.evaluate import EvaluateConfig, run
from jobs.reports.evaluation import ColumnsOfModel, Evaluation, WayResult, as_text
from jobs.reports.evaluation_plot import points
from made import vectors as made_vectors
from made.vectors import append, clustered
from operators.base.arrays import vectors_from_numpy
from operators.base.columns import REGION
from operators.base.errors import UserError
from operators.models.load import describe as describe_model
from operators.models.spec import parse_model_name
from operators.vectors.apply import vector_type
from operators.vectors.scalar_codes import ScalarCodec, fit_scalar
from pipelines.space.field import with_space

ROWS, DIM, QUERIES = 600, 32, 40
LOCAL = {"executor": "local"}
REDUCED = {
    "vector_int8": {"quantize": "int8"},
    "vector_binary": {"quantize": "binary"},
    "vector_pq": {"quantize": "pq", "pq_bytes": 4},
    "vector_8": {"truncate_dim": 8, "allow_untrained_truncation": True, "quantize": "float32"},
}


def rows_of(vectors: pa.Array) -> pa.Table:
    """Rows of an embed job, of a model of this length, which `pixlake reduce` can go on from."""
    rows = made_vectors.rows_of(vectors, 0)
    model = parse_model_name("null")
    described = describe_model(model).model_copy(update={"dim": vector_type(vectors.type).list_size})
    record = {"embed": {"family": "null"}, "normalize": {"l2": True}}
    field = with_space(rows.field("vector"), record, described)
    return rows.set_column(rows.schema.get_field_index("vector"), field, vectors)


def derive(table: str, column: str, **options: Any) -> None:
    base = {"table": table, "column": column, "cluster": LOCAL, **options}
    reduce.run(load_config(reduce.ReduceConfig, base=base))


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    made = clustered(ROWS, DIM)
    # A copy of another image: as near as it, so it counts as found wherever the other is.
    made[1] = made[0]
    return made


@pytest.fixture(scope="module")
def labels() -> list[str]:
    """Of two kinds, a third of them against what the vectors say."""
    side = clustered(ROWS, DIM)[:, 0] > 0
    return ["ab"[int(each)] for each in side ^ (np.random.default_rng(3).random(ROWS) < 0.3)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray, labels: list[str]) -> str:
    name = str(tmp_path_factory.mktemp("evaluate") / "lake" / "photos")
    append(name, rows_of(vectors_from_numpy(vectors)).append_column("label", pa.array(labels)), fragments=3)
    for column, options in REDUCED.items():
        derive(name, column, **options)
    return name


@pytest.fixture(scope="module")
def evaluation(table: str) -> Evaluation:
    return run(EvaluateConfig(table=table, queries=QUERIES, label="label"))


def way(evaluation: Evaluation | ColumnsOfModel, name: str) -> WayResult:
    group = evaluation.models[0] if isinstance(evaluation, Evaluation) else evaluation
    [found] = [each for each in group.ways if each.name == name]
    return found


def drawn(count: int = QUERIES, rows: int = ROWS) -> np.ndarray:
    return np.sort(np.random.default_rng(0).choice(rows, count, replace=False))


def scores_without_self(queries: np.ndarray, compared: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(Q, N) cosines, -2 of each query's own row."""
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (queries, compared)]
    scores = units[0] @ units[1].T
    scores[np.arange(len(own)), own] = -2
    return scores


def recall(found: np.ndarray, true: np.ndarray, k: int) -> float:
    """(Q, N) scores of what was searched and of the truth; rows tied with the k-th of the truth are right."""
    best = np.argsort(-found, axis=1, kind="stable")[:, :k]
    least = -np.sort(-true, axis=1)[:, k - 1 : k]
    return float((np.take_along_axis(true, best, 1) >= least - 1e-6).mean())


def test_recall_of_each_representation(evaluation: Evaluation, vectors: np.ndarray) -> None:
    own = drawn()
    true = scores_without_self(vectors[own], vectors, own)
    scalar = ScalarCodec(**fit_scalar(vectors))
    signs = np.where(vectors > np.median(vectors, axis=0), 1.0, -1.0)
    compared = {
        "vector": (vectors[own], vectors),
        "vector_int8": (vectors[own], scalar.decode(scalar.encode(vectors))),
        "vector_binary": (signs[own], signs),
        "vector_8": (vectors[own, :8], vectors[:, :8]),
    }
    for name, (queries, stored) in compared.items():
        found = scores_without_self(queries, stored, own)
        assert way(evaluation, name).recall == {
            k: pytest.approx(recall(found, true, k), abs=0.01) for k in (1, 10, 100)
        }
    assert way(evaluation, "vector").recall == {1: 1, 10: 1, 100: 1}
    assert 0.2 < way(evaluation, "vector_8").recall[10] < 0.95


def test_recall_of_rescored_candidates(evaluation: Evaluation, vectors: np.ndarray) -> None:
    own = drawn()
    true = scores_without_self(vectors[own], vectors, own)
    signs = np.where(vectors > np.median(vectors, axis=0), 1.0, -1.0)
    # As many bits differ, as near: rounding must not order them.
    coarse = scores_without_self(signs[own], signs, own).round(4)
    rescored = way(evaluation, "vector_binary, rescored")
    for k in (1, 10):
        candidates = np.argsort(-coarse, axis=1, kind="stable")[:, : 10 * k]
        known = np.full_like(true, -2)
        np.put_along_axis(known, candidates, np.take_along_axis(true, candidates, 1), 1)
        assert rescored.recall[k] == pytest.approx(recall(known, true, k), abs=0.01)
        assert rescored.recall[k] > way(evaluation, "vector_binary").recall[k]
    assert way(evaluation, "vector_pq").recall[10] < way(evaluation, "vector_pq, rescored").recall[10] <= 1


def test_labels_against_scikit_learn(evaluation: Evaluation, vectors: np.ndarray, labels: list[str]) -> None:
    own, known = drawn(), np.array(labels)
    for name, stored in (("vector", vectors), ("vector_8", vectors[:, :8])):
        scores, right_one, right_ten, averages = scores_without_self(stored[own], stored, own), [], [], []
        for at, row in enumerate(own):
            others = np.delete(np.arange(ROWS), row)
            nearest = {k: KNeighborsClassifier(k, metric="cosine").fit(stored[others], known[others]) for k in (1, 10)}
            right_one.append(nearest[1].predict(stored[row : row + 1])[0] == known[row])
            shares = dict(zip("ab", nearest[10].predict_proba(stored[row : row + 1])[0], strict=True))
            first = known[others][np.argmax(scores[at][others])]
            right_ten.append(
                (first if shares["a"] == shares["b"] else max(shares, key=shares.__getitem__)) == known[row]
            )
            averages.append(average_precision_score(known[others] == known[row], scores[at][others]))
        found = way(evaluation, name)
        assert found.accuracy == {1: pytest.approx(np.mean(right_one)), 10: pytest.approx(np.mean(right_ten))}
        assert found.mean_average_precision == pytest.approx(np.mean(averages), abs=1e-3)
    assert way(evaluation, "vector_binary, rescored").mean_average_precision is None


def test_bytes_times_and_order(evaluation: Evaluation) -> None:
    [group] = evaluation.models
    assert {each.name: each.bytes_per_vector for each in group.ways} == {
        "vector": DIM * 4,
        "vector_int8": DIM,
        "vector_binary": DIM / 8,
        "vector_binary, rescored": DIM / 8,
        "vector_pq": 4,
        "vector_pq, rescored": 4,
        "vector_8": 32,
    }
    # Fewer are timed where the machine is busy.
    assert all(0 < each.p50_ms <= each.p99_ms and 0 < each.timed_queries <= QUERIES for each in group.ways)
    assert all(each.index is None for each in group.ways)
    assert [each.name for each in group.ways if each.build_seconds is None] == ["vector"]
    assert all((each.build_seconds or 0) > 0 and each.build_rows == ROWS for each in group.ways[1:])
    assert (group.column, group.model, group.rows, group.queries) == ("vector", "null", ROWS, QUERIES)


def test_the_files_beside_the_table(evaluation: Evaluation, table: str) -> None:
    stored = json.loads(Path(evaluation.json_file).read_text())
    assert Evaluation.model_validate(stored) == evaluation
    assert Path(evaluation.json_file).parent.parent == Path(f"{table}__runs")
    assert Path(evaluation.plot_file).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    shown = points(evaluation)
    assert [point.name for point in shown] == [each.name for each in evaluation.models[0].ways]
    assert shown[0].recall == 1
    assert shown[0].bytes_per_vector == DIM * 4
    failures = pa.schema([("id", pa.string()), ("shard", pa.int32()), ("row", pa.int32())])
    lance.write_dataset(failures.empty_table(), f"{table}__failures.lance")
    assert describe(DescribeConfig(table=table)).runs == []
    text = as_text(evaluation).splitlines()
    assert text[0].startswith("vector: null, 32-d, 600 rows; 40 of them as queries")
    assert text[1].split()[:3] == ["way", "metric", "bytes"]
    assert text[2].split()[:5] == ["vector", "cosine", "128", "1.000", "1.000"]


def test_timing_is_bounded_and_can_be_left_out(table: str) -> None:
    some = run(EvaluateConfig(table=table, queries=5, timing_queries=2))
    assert {each.timed_queries for each in some.models[0].ways} == {2}
    assert as_text(some).splitlines()[0].endswith("5 of them as queries, each without itself; 2 timed a way")
    none = run(EvaluateConfig(table=table, queries=5, timing_queries=0))
    assert {(each.timed_queries, each.p50_ms, each.p99_ms) for each in none.models[0].ways} == {(0, None, None)}
    assert as_text(none).splitlines()[0].endswith("none timed")
    assert Path(none.plot_file).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_indexes_as_they_are_recorded_and_as_lance_takes_them(tmp_path: Path) -> None:
    made, name = clustered(2000, 16), str(tmp_path / "lake" / "photos")
    append(name, rows_of(vectors_from_numpy(made)))
    derive(name, "vector_half", quantize="float16")
    recorded = index.run(index.IndexConfig(table=name, column="vector", type="IVF_FLAT", cluster=LOCAL)).index
    assert recorded is not None
    dataset = lance.dataset(f"{name}.lance")
    dataset.create_index("vector_half", "IVF_PQ", metric="l2", num_partitions=8, num_sub_vectors=2, name="by_hand")
    found = run(EvaluateConfig(table=name, queries=30))
    ours, by_hand = way(found, "vector IVF_FLAT"), way(found, "vector_half IVF_PQ")
    assert (ours.index, ours.nprobes, ours.refine) == (recorded.name, recorded.nprobes, recorded.refine)
    assert (ours.build_seconds, ours.build_rows, ours.unindexed_rows) == (recorded.seconds, None, 0)
    assert ours.bytes_per_vector == pytest.approx(recorded.size_bytes / 2000)
    assert ours.recall[10] >= 0.95
    assert (by_hand.index, by_hand.nprobes, by_hand.build_seconds) == ("by_hand", None, None)
    [size] = [each.total_size_bytes for each in dataset.describe_indices() if each.name == "by_hand"]
    assert by_hand.bytes_per_vector == size / 2000
    assert by_hand.recall[10] < ours.recall[10]
    assert way(found, "vector_half").recall[10] > 0.95
    assert way(found, "vector_half").build_rows == 2000


def test_index_recall_is_against_the_same_column_and_recall_against_the_models(tmp_path: Path) -> None:
    name = str(tmp_path / "lake" / "photos")
    append(name, rows_of(vectors_from_numpy(clustered(ROWS, DIM))))
    derive(name, "vector_8", **REDUCED["vector_8"])
    options = {"column": "vector_8", "type": "IVF_FLAT", "num_partitions": 4, "nprobes": 4, "queries": QUERIES}
    built = index.run(index.IndexConfig.model_validate({"table": name, "cluster": LOCAL, **options}))
    assert built.index is not None
    assert (built.index.recall, built.index.queries) == (1, QUERIES)
    assert "\nindex recall@10  1.0000 (target 0.95) at nprobes 4" in index.as_text(built)
    found = run(EvaluateConfig(table=name, queries=QUERIES, timing_queries=0))
    by_index, by_all = (way(found, each).recall for each in ("vector_8 IVF_FLAT", "vector_8"))
    assert by_index == by_all
    assert 0.2 < by_all[10] < 0.95
    assert "recall@10" in as_text(found)
    assert "index recall" not in as_text(found)


def two_models(vectors: np.ndarray) -> pa.Table:
    rows = rows_of(vectors_from_numpy(vectors))
    other = rows.schema.field("vector").with_name("vector_other")
    return rows.append_column(other, vectors_from_numpy(vectors[:, ::-1].copy() ** 3))


def test_each_model_is_its_own_truth_and_rows_without_vectors_are_passed_over(tmp_path: Path) -> None:
    name, made = str(tmp_path / "lake" / "photos"), clustered(60, 8)
    rows = two_models(made)
    gaps = pa.array(np.arange(60) % 3 > 0)
    nulls = vectors_from_numpy(made, gaps.to_numpy(zero_copy_only=False))
    rows = rows.set_column(rows.schema.get_field_index("vector_other"), rows.schema.field("vector_other"), nulls)
    append(name, rows)
    first, second = run(EvaluateConfig(table=name, queries=60)).models
    assert [(each.column, each.rows, each.queries) for each in (first, second)] == [
        ("vector", 60, 60),
        ("vector_other", 40, 40),
    ]
    # There are 59 others, and 39: recall at all of them is asked for.
    assert list(way(first, "vector").recall.items()) == [(1, 1), (10, 1), (59, 1)]
    assert list(way(second, "vector_other").recall) == [1, 10, 39]


def regions_table(folder: Path, images: int, regions: int) -> str:
    """A row a region; those of an image are all but equal, and labelled alike."""
    made = np.repeat(clustered(images, 8), regions, axis=0) + 1e-3 * np.random.default_rng(5).random(
        (images * regions, 8)
    )
    rows = rows_of(vectors_from_numpy(made))
    ids = [f"i{n // regions}" for n in range(len(made))]
    boxes = [
        {"kind": "box", "index": n % regions, "box": None, "label": f"l{n // regions % 2}", "score": None}
        for n in range(len(made))
    ]
    rows = rows.set_column(rows.schema.get_field_index("id"), "id", pa.array(ids))
    rows = rows.append_column(REGION, pa.array(boxes, REGION.type))
    name = str(folder / "lake" / "photos")
    append(name, rows)
    return name


def test_other_regions_of_the_querys_image_are_left_out(tmp_path: Path) -> None:
    name = regions_table(tmp_path, images=20, regions=3)
    found = run(EvaluateConfig(table=name, queries=60, label="region.label"))
    [group] = found.models
    assert list(way(group, "vector").recall) == [1, 10, 57]
    # Were they found, the nearest would always be one of the same image, with its label.
    rows = lance.dataset(f"{name}.lance").to_table().flatten()
    stored, known = np.array(rows["vector"].to_pylist()), np.array(rows["region.label"].to_pylist())
    scores = scores_without_self(stored, stored, np.arange(60))
    image = np.array(rows["id"].to_pylist())
    scores[image[:, None] == image[None]] = -2
    assert way(group, "vector").accuracy[1] == pytest.approx((known[scores.argmax(1)] == known).mean())
    assert way(group, "vector").accuracy[1] < 0.95


def test_rows_of_several_vectors_are_compared_by_their_best(tmp_path: Path) -> None:
    made = clustered(900, 8)
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, 901, 3), pa.int32()), vectors_from_numpy(made))
    name = str(tmp_path / "lake" / "photos")
    append(name, rows_of(lists))
    derive(name, "vector_binary", quantize="binary")
    found = run(EvaluateConfig(table=name, queries=50))
    assert way(found, "vector").recall == {1: 1, 10: 1, 100: 1}
    own = drawn(50, 300)
    signs = np.where(made > np.median(made, axis=0), 1.0, -1.0)

    def max_sim(vectors: np.ndarray) -> np.ndarray:
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = (units @ units.T).reshape(300, 3, 300, 3).max(3).mean(1)[own]
        scores[np.arange(50), own] = -2
        return scores

    coarse = way(found, "vector_binary")
    assert coarse.recall[100] == pytest.approx(recall(max_sim(signs), max_sim(made), 100), abs=0.01)
    assert coarse.bytes_per_vector == 1


def test_what_cannot_be_measured_says_why(tmp_path: Path, table: str) -> None:
    with pytest.raises(UserError, match="--label nothing: no such column; there: shard, row"):
        run(EvaluateConfig(table=table, label="nothing"))
    with pytest.raises(UserError, match="labels are strings, integers or booleans"):
        run(EvaluateConfig(table=table, label="vector"))
    lonely = str(tmp_path / "lake" / "lonely")
    append(lonely, rows_of(vectors_from_numpy(clustered(1, 8))))
    with pytest.raises(UserError, match="vector has no vectors beside those of one image"):
        run(EvaluateConfig(table=lonely))
    empty = str(tmp_path / "lake" / "empty")
    append(empty, rows_of(vectors_from_numpy(clustered(5, 8), np.zeros(5, bool))))
    with pytest.raises(UserError, match="nothing to measure: vector: no vector in the 0 rows that were drawn"):
        run(EvaluateConfig(table=empty))
    unlabelled = str(tmp_path / "lake" / "unlabelled")
    rows = rows_of(vectors_from_numpy(clustered(5, 8)))
    append(unlabelled, rows.append_column("label", pa.nulls(5, pa.string())))
    with pytest.raises(UserError, match="none of 5 rows that were drawn has a label"):
        run(EvaluateConfig(table=unlabelled, label="label"))


def test_columns_without_their_base_are_named(tmp_path: Path, table: str) -> None:
    rows = lance.dataset(f"{table}.lance").to_table().drop_columns(["vector"])
    name = str(tmp_path / "lake" / "derived")
    append(name, rows)
    with pytest.raises(UserError, match="vector_8: the table does not store vector, the vectors to compare with"):
        run(EvaluateConfig(table=name))
