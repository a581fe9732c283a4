"""`pixlake train-head` on tables of ready vectors: what it is worth, that it goes on, and who applies the head."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import reduce, search
from jobs.config.load import ConfigError, load_config
from jobs.describe import DescribeConfig
from jobs.describe import as_text as describe_text
from jobs.describe import run as describe
from jobs.train_head import TrainHeadConfig, run
from jobs.training.report import TrainHeadReport, as_text
from made import spaced_table
from operators.base.errors import PlanError, UserError
from operators.head import apply_head
from operators.storage.artifacts import find_artifact
from pipelines.classification.labelled import split_groups
from pipelines.steps import here, memory
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState
from pipelines.steps.here import train_here
from pipelines.steps.loop import StepEars
from pipelines.table.table import Table
from pipelines.training.head import HeadRecipe, HeadTask, plan_head
from pipelines.training.rows import TrainingRows, draw_training_rows, read_pairs
from pipelines.training.vectors import HeldVectors

LOCAL = {"executor": "local"}
ROWS, DIM, CLASSES = 400, 32, 8
LABELS = np.random.default_rng(1).integers(0, CLASSES, ROWS)
RANDOM = np.random.default_rng(2).permutation(LABELS)
DIMS = (8, 4)


def planted() -> np.ndarray:
    """Classes in the last 8 directions, beside louder noise in others: the first numbers, and the first principal
    directions, say nothing of them."""
    noise = np.random.default_rng(3).normal(size=(ROWS, DIM))
    noise[:, :8] *= 0.5
    noise[:, 8:24] *= 3
    noise[:, -8:] = 0.7 * noise[:, -8:] + 3 * np.eye(CLASSES)[LABELS]
    unit: np.ndarray = (noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32)
    return unit


def train(table: str, **options: Any) -> TrainHeadReport:
    base = {"table": table, "objective": "labels", "dims": DIMS, "steps": 100, "learning_rate": 0.03, "test": 0.3}
    return run(load_config(TrainHeadConfig, base={**base, **options}))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """400 rows taken in as a run does, with a `label`, and one that says nothing, `random`."""
    folder = tmp_path_factory.mktemp("heads")
    spaced_table.export(spaced_table.make(folder, planted(), name="first"), folder / "out", format="npy")
    name = str(folder / "lake" / "photos")
    spaced_table.take_in(folder / "out", name)
    known = {"id": [f"id-{row}" for row in range(ROWS)], "label": LABELS, "random": RANDOM}
    lance.dataset(f"{name}.lance").merge(pa.table(known), "id")
    return name


@pytest.fixture(scope="module")
def trained(table: str) -> TrainHeadReport:
    return train(table, label="label")


def figure(report: TrainHeadReport, way: str, dim: int) -> float:
    found = next(each.right for each in report.figures if (each.way, each.dim) == (way, dim))
    assert found is not None
    return found


def test_a_head_by_labels_beats_the_first_numbers_and_a_pca(trained: TrainHeadReport) -> None:
    for dim in DIMS:
        assert figure(trained, "head", dim) > figure(trained, "first", dim) + 0.3
        assert figure(trained, "head", dim) > figure(trained, "pca", dim) + 0.3
    assert all(each.better for each in trained.against_pca)
    assert "better than a PCA by mAP at every length" in as_text(trained)


def test_labels_that_say_nothing_raise_nothing(table: str) -> None:
    report = train(table, label="random")
    assert figure(report, "head", 8) < 2.5 / CLASSES
    assert "a PCA is as good" in as_text(report)


def test_self_keeps_more_neighbours_than_the_first_numbers(table: str) -> None:
    report = train(table, objective="self")
    recalls = {(each.way, each.dim): each.recall for each in report.figures}
    assert all(recalls["head", dim] > recalls["first", dim] + 0.05 for dim in DIMS)
    assert recalls["full", DIM] == 1


def test_pairs_join_what_belongs_together(table: str, tmp_path: Path) -> None:
    ids = np.array([f"id-{row}" for row in range(ROWS)])
    halves = [(ids[label == LABELS][::2], ids[label == LABELS][1::2]) for label in range(CLASSES)]
    mates = [pair for one, other in halves for pair in zip(one, other, strict=False)]
    pq.write_table(pa.table({"id_a": [a for a, _ in mates], "id_b": [b for _, b in mates]}), tmp_path / "pairs.parquet")
    report = train(table, objective="pairs", pairs=str(tmp_path / "pairs.parquet"), hidden=8)
    assert report.rows == 2 * len(mates)
    precision = {(each.way, each.dim): each.precision or 0 for each in report.figures}
    assert precision["head", 8] > precision["first", 8]


def test_pairs_that_share_a_row_are_one_group() -> None:
    chained = read_pairs(pa.table({"id_a": ["a", "b", "x"], "id_b": ["b", "c", "y"]}), "pairs")
    group = dict(zip(chained["id"].to_pylist(), chained["group"].to_pylist(), strict=True))
    assert group["a"] == group["b"] == group["c"] != group["x"] == group["y"]


def test_captions_find_their_images(table: str, tmp_path: Path) -> None:
    """Texts that know the class alone: an image's text is nearer to it by the head than by the first numbers."""
    rows = draw_training_rows(lance.dataset(f"{table}.lance"), "vector", rows=ROWS, seed=0)
    texts = np.eye(DIM)[LABELS[[int(each.removeprefix("id-")) for each in rows.ids.to_pylist()]] + DIM - 8]
    captioned = TrainingRows(**{**vars(rows), "captions": HeldVectors(texts.astype(np.float32))})
    recipe = {"objective": "captions", "dims": DIMS, "hidden": 4, "batch": 64, "steps": 75, "patience": 8}
    recipe |= {"learning_rate": 0.01, "weight_decay": 0.01, "seed": 0}
    train, held, _ = split_groups(rows.groups, (0.6, 0.2), seed=0)
    plan = plan_head(captioned, train, held, HeadRecipe(**recipe))
    place = CheckpointPlace(str(tmp_path / "training.safetensors"))
    state = train_here(partial(HeadTask, plan, captioned), plan.steps(), place, StepEars(), device="cpu")
    assert state.best_score < state.history[0]["held_out_loss"] - 0.1


def test_a_training_that_is_stopped_goes_on_to_the_same_bytes(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after its first checkpoint, which is what a kill leaves."""

    class Stopped(Exception):
        pass

    write = here.write_checkpoint

    def then_stop(state: TrainingState, place: CheckpointPlace) -> None:
        write(state, place)
        raise Stopped

    options = {"label": "label", "hidden": 4, "seed": 3}
    monkeypatch.setattr(here, "write_checkpoint", then_stop)
    with pytest.raises(Stopped):
        train(table, **options)
    monkeypatch.setattr(here, "write_checkpoint", write)
    resumed, undisturbed = train(table, **options), train(table, **options)
    assert (resumed.resumed_at, undisturbed.resumed_at) == (25, None), "and a checkpoint is gone at the end"
    assert resumed.sha256 == undisturbed.sha256
    assert resumed.history == undisturbed.history


def test_queries_and_rows_go_through_the_head(table: str, trained: TrainHeadReport, tmp_path: Path) -> None:
    made = {"table": table, "cluster": LOCAL, "head": trained.uri, "quantize": "float32"}
    cut = load_config(reduce.ReduceConfig, base={**made, "column": "short", "truncate_dim": 4})
    report = reduce.run(cut)
    assert (report.rows, report.reduction.dim) == (ROWS, 4)
    held = lance.dataset(f"{table}.lance").to_table(columns=["vector", "short"])
    full, short = (np.array(held[name].to_pylist(), np.float32) for name in ("vector", "short"))
    expected = apply_head(full, find_artifact(trained.uri)[1].tensors)[:, :4]
    np.testing.assert_allclose(short, expected, atol=1e-6)
    asked = {"table": table, "id": "id-7", "column": "short", "k": 3}
    results = search.run(load_config(search.SearchConfig, base=asked)).results
    assert len(results) == 3
    about = describe(load_config(DescribeConfig, base={"table": table}))
    assert "a trained head to 8, cut to 4" in describe_text(about)
    more = spaced_table.make(tmp_path, planted()[:5], name="more", first=ROWS)
    spaced_table.export(more, tmp_path / "more_out", format="npy")
    spaced_table.take_in(tmp_path / "more_out", table, keep=[])
    later = lance.dataset(f"{table}.lance").to_table(columns=["id", "short"])
    assert (later.num_rows, later["short"].null_count) == (ROWS + 5, 0)


def test_a_length_that_it_was_not_trained_for_is_refused(table: str, trained: TrainHeadReport) -> None:
    asked = {"table": table, "cluster": LOCAL, "head": trained.uri, "column": "other", "truncate_dim": 5}
    with pytest.raises(PlanError, match="the head was trained to be cut to 8, 4"):
        reduce.run(load_config(reduce.ReduceConfig, base=asked))


def test_a_loss_that_is_no_number_names_its_step_and_rows(table: str) -> None:
    with pytest.raises(UserError, match=r"step \d+: the loss is .* The batch: id-\d+, .*lower --learning-rate"):
        train(table, label="label", learning_rate=1e30)


def test_rows_left_in_the_table_are_those_held_in_memory(table: str) -> None:
    dataset = lance.dataset(f"{table}.lance")
    asked: dict[str, Any] = {"rows": 300, "seed": 5, "label": "label", "captions": "vector"}
    held = draw_training_rows(dataset, "vector", **asked)
    left = draw_training_rows(dataset, "vector", **asked, left_in=Table.of(table))
    assert (held.digest, held.full.dim) == (left.digest, left.full.dim)
    assert not isinstance(left.full, HeldVectors)
    places = np.array([250, 3, 77, 4])
    part = left.held_by(np.array([77, 3, 4, 9, 250]))
    assert len(part.full.values) == 5  # type: ignore[attr-defined]
    for rows in (left, part):
        assert np.array_equal(rows.vectors(places), held.vectors(places))
        assert np.array_equal(rows.texts(places), held.texts(places))


def test_rows_that_do_not_fit_into_memory_are_refused_before_they_are_read(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 16)
    with pytest.raises(UserError, match=r"40\d vectors of 32 numbers, held by one process, .* 0\.0 GiB .*--sample"):
        train(table, label="label")


def test_a_training_says_what_it_will_take_and_draws_itself(
    table: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(table, objective="self", steps=25, plot=str(tmp_path / "plot.png"))
    assert "256 numbers to train on one worker, cpu, float32: a step takes" in capfd.readouterr().err
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match=r"--plot .*there is no folder"):
        train(table, objective="self", steps=25, plot=str(tmp_path / "no" / "plot.png"))


def test_a_cluster_for_one_worker_is_refused(table: str) -> None:
    with pytest.raises(UserError, match="give --workers too"):
        train(table, objective="self", cluster={"address": "127.0.0.1:6379"})


def test_metrics_are_a_line_for_each_evaluation(table: str, tmp_path: Path) -> None:
    report = train(table, objective="self", steps=30, metrics=str(tmp_path / "m.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert lines == report.history
    assert [each["step"] for each in lines] == [0, 25, 30]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "--objective labels needs --label"),
        ({"label": "label", "pairs": "x"}, "--pairs is for --objective pairs"),
        ({"label": "label", "dims": "8,x"}, "lengths with commas"),
    ],
)
def test_what_does_not_go_together_is_said(table: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train(table, **options)


def test_lengths_beyond_the_vectors_are_refused(table: str) -> None:
    with pytest.raises(UserError, match="--dims 64, and a vector of vector has 32 numbers"):
        train(table, label="label", dims="64,8")
