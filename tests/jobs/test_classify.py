"""`pixlake classify` on tables of ready vectors: what it fills, what later runs fill, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file
from sklearn.neighbors import KNeighborsClassifier

from jobs.audit import AuditConfig
from jobs.audit import run as audit
from jobs.classify import ClassifyConfig, read_names, run
from jobs.config.load import load_config
from jobs.describe import DescribeConfig, as_text
from jobs.describe import run as describe
from jobs.labelling import classify_report
from made import spaced_table
from operators.base.errors import UserError
from operators.vectors.class_scores import softmax

LOCAL = {"executor": "local"}
ROWS, MORE = 300, 40
CLASSES = np.array(["cat", "dog", "owl"])
LABELS = np.random.default_rng(5).integers(0, 3, ROWS + MORE)


def vectors(rows: slice) -> np.ndarray:
    labels = LABELS[rows]
    found = np.eye(10)[labels] + 0.35 * np.random.default_rng(len(labels)).normal(size=(len(labels), 10))
    unit: np.ndarray = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)
    return unit


def classify(table: str, **options: Any) -> classify_report.ClassifyReport:
    return run(load_config(ClassifyConfig, base={"table": table, "cluster": LOCAL, **options}))


def columns(table: str, *names: str) -> list[Any]:
    found = lance.dataset(f"{table}.lance").to_table(columns=["id", *names]).sort_by([("id", "ascending")])
    return [found[name].to_numpy(zero_copy_only=False) for name in names]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lake/photos`, 300 rows taken in as a run does, two thirds with a `label`; and 40 others in `more_out`."""
    folder = tmp_path_factory.mktemp("classify")
    for name, rows in (("first", slice(0, ROWS)), ("more", slice(ROWS, ROWS + MORE))):
        table = spaced_table.make(folder, vectors(rows), name=name, first=rows.start)
        spaced_table.export(table, folder / f"{name}_out", format="npy")
    spaced_table.take_in(folder / "first_out", str(folder / "lake" / "photos"))
    ids = [f"id-{row}" for row in range(ROWS)]
    known = pa.array(CLASSES[LABELS[:ROWS]], mask=np.arange(ROWS) % 3 == 0)
    lance.dataset(folder / "lake" / "photos.lance").merge(pa.table({"id": ids, "label": known}), "id")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "copy")


def test_a_probe_fills_all_rows_and_later_runs_fill_them_too(folder: Path) -> None:
    table = str(folder / "lake" / "photos")
    report = classify(table, label="label", threshold=0.5)
    assert (report.by, report.filled_now, report.rows) == ("probe", ROWS, ROWS)
    assert report.measured is not None
    assert (report.measured.labelled, report.measured.rows + report.measured.groups) == (200, 2 * report.measured.rows)
    assert json.loads(Path(report.json_file).read_text()) == report.model_dump(mode="json")

    assert spaced_table.take_in(folder / "more_out", table).status == "complete"
    vector, label, score, margin = columns(table, "vector", "predicted", "predicted_score", "predicted_margin")
    tensors = load_file(report.artifact)
    units = np.stack(vector).astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    expected = softmax((units @ tensors["weights"].T + tensors["bias"]) / report.measured.temperature)
    best = np.sort(expected, axis=1)
    np.testing.assert_allclose(score, best[:, -1], atol=1e-5)
    np.testing.assert_allclose(margin, best[:, -1] - best[:, -2], atol=1e-5)
    given = np.where(score >= 0.5, CLASSES[expected.argmax(1)], None)
    assert label.tolist() == given.tolist()
    assert len(label) == ROWS + MORE

    again = classify(table, label="label", threshold=0.5)
    assert (again.filled_now, again.rows, again.measured) == (0, ROWS + MORE, report.measured)
    assert again.abstained == sum(each is None for each in given)
    assert (
        "labelled   predicted, predicted_score, predicted_margin: by a linear probe of vector learned from label"
        in as_text(describe(DescribeConfig(table=table)))
    )
    assert audit(AuditConfig(table=table, cluster=LOCAL)).faults == []


def test_neighbours_are_asked_once_and_no_row_about_itself(folder: Path) -> None:
    table = str(folder / "lake" / "photos")
    report = classify(table, by="knn", label="label", neighbours=7, name="near")
    assert spaced_table.take_in(folder / "more_out", table).status == "complete"
    vector, known, near, score = columns(table, "vector", "label", "near", "near_score")
    units = np.stack(vector).astype(np.float32)
    labelled = np.array([each is not None for each in known])
    asked = ~np.isnan(score)
    assert asked.sum() == ROWS
    for row in [*np.flatnonzero(asked & ~labelled)[:20], *np.flatnonzero(labelled)[:20]]:
        others = labelled & (np.arange(len(known)) != row)
        plain = KNeighborsClassifier(7, metric="cosine", weights=lambda far: 1 - far)
        assert near[row] == plain.fit(units[others], known[others].astype(str)).predict(units[row : row + 1])[0]
    assert "rows that come later have none" in classify_report.as_text(report)
    assert "rows that came later have none" in as_text(describe(DescribeConfig(table=table)))
    assert classify(table, by="knn", label="label", neighbours=7, name="near").filled_now == MORE


@pytest.fixture(scope="module")
def probed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = shutil.copytree(made / "lake", tmp_path_factory.mktemp("probed") / "lake")
    classify(str(folder / "photos"), label="label", name="kind")
    return str(folder / "photos")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "by what: --class NAME for each class, or --label COLUMN"),
        ({"by": "knn"}, "--by knn needs --label"),
        ({"by": "probe", "label": "label", "classes": ["a", "b"]}, "leave --class and --classes out"),
        ({"classes": ["a", "b"], "templates": ["a photo"]}, r"'a photo' needs \{\} once"),
        ({"classes": ["a", "a", "b"]}, "a name of their own"),
        ({"label": "nothing"}, "--label nothing: no such column"),
        ({"label": "label", "group": "vector"}, "--group vector is"),
        ({"label": "label", "name": "kind", "threshold": 0.3}, "kind is there, .*threshold 0.3, there 0.0"),
        ({"label": "uri"}, "uri has 300 values in 300 rows: these are no classes"),
    ],
)
def test_what_cannot_be_is_refused(probed: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        classify(probed, **options)


def test_a_model_without_words_is_said(probed: str) -> None:
    with pytest.raises(UserError, match=r"gives no vectors for words, .*--label COLUMN learns the classes"):
        classify(probed, classes=["cat", "dog"], name="named")


def test_names_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("hot dog\n\n  owl \n")
    assert read_names(str(tmp_path / "names.txt")) == ("hot dog", "owl")
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbfcat\r\nowl\r\n")
    assert read_names(str(tmp_path / "marked.txt")) == ("cat", "owl"), "with a byte order mark"
    with pytest.raises(UserError, match=r"--classes .*missing\.txt: cannot be read"):
        read_names(str(tmp_path / "missing.txt"))
