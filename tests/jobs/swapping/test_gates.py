"""Every gate on tables whose answer is known in closed form: the same column, a rotated, a shuffled, a collapsed, a
half-filled one; and labels, queries and copies as a user has them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from jobs import index
from jobs.config.load import load_config
from jobs.config.read import ReadConfig
from jobs.embed import load as load_embed
from jobs.embed import run as embed
from jobs.looking.images import packed_rows
from jobs.session.progress import Progress
from jobs.swapping.gate_report import Gate, GateConfig, GateReport, as_text
from jobs.swapping.gates import run_gates
from made.two_columns import NEW, OLD, rotation, unit, write
from operators.api.options import NO_API_OPTIONS
from operators.base.errors import UserError
from operators.fetching.options import FetchOptions
from operators.storage.stores import NO_OPTIONS
from pipelines.table.table import Table

ROWS, DIM, CLASSES = 400, 16, 5


def gates_of(table: Table, old: str = OLD, new: str = NEW, roots: tuple[str, ...] = (), **config: Any) -> GateReport:
    with Progress() as progress:
        return run_gates(
            GateConfig(**config),
            table,
            old=old,
            new=new,
            storage=NO_OPTIONS,
            fetch=FetchOptions(allowed_roots=roots),
            api=NO_API_OPTIONS,
            packed=packed_rows(ReadConfig(table=str(table))),
            progress=progress,
        )


def gate(report: GateReport, name: str) -> Gate:
    [found] = [each for each in report.gates if each.name == name]
    return found


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, CLASSES, ROWS)


@pytest.fixture(scope="module")
def vectors(labels: np.ndarray) -> np.ndarray:
    """Clusters that overlap: neither accuracy nor precision is 1."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(CLASSES, DIM))
    return unit(centers[labels] + 0.9 * random.normal(size=(ROWS, DIM)))


def test_the_same_column_passes_every_gate_with_no_difference(
    tmp_path: Path, vectors: np.ndarray, labels: np.ndarray
) -> None:
    report = gates_of(write(tmp_path, vectors, vectors, labels=labels.tolist()), label="label")
    assert report.passed
    assert report.failed == []
    assert gate(report, "overlap").new == 1
    for name in ("quality.knn_accuracy", "quality.mean_average_precision"):
        found = gate(report, name)
        assert (found.difference, found.low, found.high) == (0, 0, 0)
        assert found.old == found.new
    assert gate(report, "canaries").passed is None
    assert "canaries" in as_text(report)
    assert "all gates that count have passed" in as_text(report)
    assert GateReport.model_validate_json(report.model_dump_json()) == report


def test_a_rotated_column_passes_for_it_has_the_same_neighbours(
    tmp_path: Path, vectors: np.ndarray, labels: np.ndarray
) -> None:
    rotated = (vectors @ rotation(DIM)).astype(np.float32)
    report = gates_of(write(tmp_path, vectors, rotated, labels=labels.tolist()), label="label")
    assert report.passed
    assert gate(report, "overlap").new == pytest.approx(1, abs=1e-3)
    assert gate(report, "quality.mean_average_precision").difference == pytest.approx(0, abs=1e-3)


def test_accuracy_and_precision_are_scikit_learns(tmp_path: Path, vectors: np.ndarray, labels: np.ndarray) -> None:
    other = unit(vectors + 0.3 * np.random.default_rng(2).normal(size=vectors.shape))
    table = write(tmp_path, vectors, other, labels=labels.tolist())
    report = gates_of(table, label="label", sample=ROWS)
    for name, column in (("old", vectors), ("new", other)):
        near = KNeighborsClassifier(11, metric="cosine").fit(column, labels).kneighbors(column, return_distance=False)
        right = []
        for own, row in enumerate(near):
            votes = labels[row[row != own][:10]].tolist()
            # Of labels as frequent the nearest counts.
            right.append(max(dict.fromkeys(votes), key=votes.count) == labels[own])
        assert getattr(gate(report, "quality.knn_accuracy"), name) == pytest.approx(np.mean(right))
        cosines = column.astype(np.float64) @ column.T.astype(np.float64)
        others = ~np.eye(ROWS, dtype=bool)
        precision = [
            average_precision_score(labels[others[at]] == labels[at], cosines[at][others[at]]) for at in range(ROWS)
        ]
        assert getattr(gate(report, "quality.mean_average_precision"), name) == pytest.approx(
            np.mean(precision), abs=1e-3
        )


def test_a_shuffled_column_fails_quality_and_nothing_else(
    tmp_path: Path, vectors: np.ndarray, labels: np.ndarray
) -> None:
    shuffled = vectors[np.random.default_rng(4).permutation(ROWS)]
    report = gates_of(write(tmp_path, vectors, shuffled, labels=labels.tolist()), label="label")
    assert report.failed == ["quality.knn_accuracy", "quality.mean_average_precision"]
    assert not report.passed
    assert gate(report, "quality.knn_accuracy").new == pytest.approx(1 / CLASSES, abs=0.1)
    assert gate(report, "overlap").new == pytest.approx(10 / ROWS, abs=0.05)
    assert "failed: quality.knn_accuracy" in as_text(report)


def test_a_loss_within_what_is_allowed_passes(tmp_path: Path, vectors: np.ndarray, labels: np.ndarray) -> None:
    shuffled = vectors[np.random.default_rng(4).permutation(ROWS)]
    table = write(tmp_path, vectors, shuffled, labels=labels.tolist())
    assert gates_of(table, label="label", max_loss=1.0).passed


def test_a_collapsed_column_fails_by_its_duplicates(tmp_path: Path, vectors: np.ndarray, labels: np.ndarray) -> None:
    collapsed = vectors.copy()
    collapsed[::2] = vectors[0]
    report = gates_of(write(tmp_path, vectors, collapsed, labels=labels.tolist()), label="label")
    assert "duplicates" in report.failed
    found = gate(report, "duplicates")
    assert (found.old, found.new, found.passed) == (0, 0.5, False)
    assert gate(report, "constant").passed
    whole = np.repeat(vectors[:1], ROWS, axis=0)
    report = gates_of(write(tmp_path, vectors, whole, labels=labels.tolist(), name="whole"), label="label")
    assert {"duplicates", "constant"} <= set(report.failed)


def test_a_half_filled_column_fails_coverage_alone(tmp_path: Path, vectors: np.ndarray, labels: np.ndarray) -> None:
    table = write(tmp_path, vectors, vectors, labels=labels.tolist(), without=range(0, ROWS, 2))
    report = gates_of(table, label="label")
    assert report.failed == ["coverage"]
    found = gate(report, "coverage")
    assert (found.old, found.new, found.rows, found.bound, found.threshold) == (1, 0.5, ROWS, "at least", 0.99)
    # Rows that one column alone has are compared with in neither.
    assert gate(report, "quality.mean_average_precision").difference == 0
    assert gates_of(table, label="label", min_coverage=0.5).passed


def test_deleted_rows_count_nowhere(tmp_path: Path, vectors: np.ndarray, labels: np.ndarray) -> None:
    gone = range(0, ROWS, 2)
    table = write(tmp_path, vectors, vectors, labels=labels.tolist(), without=gone, deleted=gone)
    report = gates_of(table, label="label")
    assert report.passed
    assert gate(report, "coverage").rows == ROWS // 2


def test_vectors_that_are_no_vectors_fail(tmp_path: Path, vectors: np.ndarray, labels: np.ndarray) -> None:
    bad = vectors.copy()
    bad[0], bad[1, 0], bad[2:12] = 0, np.nan, 2 * vectors[2:12]
    report = gates_of(write(tmp_path, vectors, bad, labels=labels.tolist()), label="label")
    assert report.failed == ["finite", "norms"]
    assert gate(report, "finite").new == 2 / ROWS
    assert gate(report, "norms").new == 10 / ROWS


def test_an_empty_column_is_measured_nowhere_and_passes_nothing(
    tmp_path: Path, vectors: np.ndarray, labels: np.ndarray
) -> None:
    table = write(tmp_path, vectors, vectors, labels=labels.tolist(), without=range(ROWS))
    report = gates_of(table, label="label")
    assert report.failed == ["coverage", "finite", "duplicates", "quality"]
    assert gate(report, "quality.knn_accuracy").passed is None
    assert gate(report, "overlap").new is None


def test_the_index_is_asked_again_and_a_lost_one_is_seen(tmp_path: Path, labels: np.ndarray) -> None:
    random = np.random.default_rng(6)
    vectors = unit(random.normal(size=(2000, DIM)))
    table = write(tmp_path, vectors, vectors, labels=np.resize(labels, 2000).tolist())
    base = {"table": f"{tmp_path}/lake/photos", "cluster": {"executor": "local"}, "type": "IVF_FLAT"}
    report = gates_of(table, label="label")
    assert gate(report, "index_recall").passed is None
    index.run(load_config(index.IndexConfig, base={**base, "column": NEW, "num_partitions": 8, "target_recall": 0.9}))
    report = gates_of(table, label="label")
    found = gate(report, "index_recall")
    assert found.passed
    assert found.new is not None
    assert found.new >= 0.88
    assert found.threshold == 0.9
    assert not gates_of(table, label="label", min_index_recall=1.0, max_loss=0.0).passed or found.new == 1


def test_a_label_or_a_query_set_that_is_none_is_said_before_anything(tmp_path: Path, vectors: np.ndarray) -> None:
    table = write(tmp_path, vectors, vectors)
    with pytest.raises(UserError, match=r"gates\.label colour: no such column"):
        gates_of(table, label="colour")
    with pytest.raises(UserError, match="no such file"):
        gates_of(table, queries=str(tmp_path / "queries.parquet"))
    pq.write_table(pa.table({"text": ["a"], "right": [["i0"]]}), tmp_path / "queries.parquet")
    with pytest.raises(UserError, match="has the columns text, right; it needs `ids`"):
        gates_of(table, queries=str(tmp_path / "queries.parquet"))
    pq.write_table(pa.table({"text": ["a"], "ids": pa.array([[]], pa.list_(pa.string()))}), tmp_path / "q.parquet")
    with pytest.raises(UserError, match="row 0 has no right ids"):
        gates_of(table, queries=str(tmp_path / "q.parquet"))


def test_words_for_models_without_words_are_not_measured_and_not_passed(tmp_path: Path, vectors: np.ndarray) -> None:
    table = write(tmp_path, vectors, vectors)
    pq.write_table(pa.table({"text": ["a cat"], "ids": [["i0"]]}), tmp_path / "queries.parquet")
    report = gates_of(table, queries=str(tmp_path / "queries.parquet"))
    assert report.failed == ["quality"]
    assert "no text tower" in gate(report, "quality.recall@10").how
    assert "NOT MEASURED  quality.recall@10" in as_text(report)
    assert "not measured  canaries" in as_text(report)


COLOURS = 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table]:
    """Images of two colours, side by side, each with its mirror image. The grid tells the two apart, the mean colour
    does not."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    for number in range(COLOURS):
        pixels = np.zeros((60, 80, 3), np.uint8)
        pixels[:, :40], pixels[:, 40:] = random.integers(0, 256, (2, 3))
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        Image.fromarray(np.ascontiguousarray(pixels[:, ::-1])).save(folder / "images" / f"{number}m.png")
    table = f"{folder}/lake/photos"
    models = {"grid": {"name": "null"}, "mean": {"name": "null", "pooling": "avg"}}
    base = {"source": {"uri": str(folder / "images")}, "table": table, "models": models}
    embed(load_embed(base={**base, "cluster": {"executor": "local"}, "decode": {"isolate": False}}))
    return folder, Table.of(table)


def test_copies_find_their_originals_or_do_not(photos: tuple[Path, Table]) -> None:
    folder, table = photos
    columns = {"old": "vector_grid", "new": "vector_mean", "roots": (str(folder / "images"),)}
    report = gates_of(table, copies=100, **columns)
    found = gate(report, "quality.copies_found")
    # The grid takes a flip for the mirror image. The mean colour is as near to either, which is no mistake.
    assert found.old == pytest.approx(2 / 3)
    assert found.new == 1
    assert found.rows == 2 * COLOURS
    assert found.passed
    # But the mean colour gives two images one vector.
    assert report.failed == ["duplicates"]
    back = gates_of(table, copies=100, **{**columns, "old": "vector_mean", "new": "vector_grid"})
    assert back.failed == ["quality.copies_found"]
    assert gate(back, "quality.copies_found").difference == pytest.approx(-1 / 3)


def test_images_that_cannot_be_read_leave_quality_unmeasured_and_unpassed(photos: tuple[Path, Table]) -> None:
    _, table = photos
    report = gates_of(table, old="vector_grid", new="vector_mean", copies=4)
    assert "quality" in report.failed
    assert "none of 4 images that were drawn could be read: blocked_source" in gate(report, "quality.copies_found").how


def test_a_query_set_of_images_is_answered_by_both_models(photos: tuple[Path, Table], tmp_path: Path) -> None:
    folder, table = photos
    ids = table.latest().to_table(columns=["id", "uri"]).to_pylist()
    id_of = {Path(row["uri"]).stem: row["id"] for row in ids}
    images = [f"../{(folder / 'images' / f'{number}.png').relative_to(folder.parent)}" for number in range(COLOURS)]
    right = [[id_of[f"{number}"], "not-there"] for number in range(COLOURS)]
    file = folder.parent / "sets"
    file.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": images, "ids": right}), file / "queries.parquet")
    report = gates_of(table, old="vector_grid", new="vector_mean", queries=str(file / "queries.parquet"))
    assert gate(report, "quality.recall@10").old == gate(report, "quality.recall@10").new == 0.5
    # First, and of two that are right one is nowhere.
    best = 1 / (1 + 1 / np.log2(3))
    assert gate(report, "quality.ndcg@10").old == pytest.approx(best)
    assert gate(report, "quality.recall@10").rows == COLOURS
    assert [each.name for each in report.gates if each.name.startswith("quality.copies")] == []
