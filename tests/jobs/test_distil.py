"""`pixlake distil` on images of noise whose teacher is the null model: who is taught, what is said, who finds whom."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from jobs import describe, embed, search, swap
from jobs.config.load import ConfigError, load_config
from jobs.describe import DescribeConfig
from jobs.describe import as_text as describe_text
from jobs.distil import DistilConfig, DistilReport, as_text, run
from jobs.distilling.config import split_teacher
from jobs.search import SearchConfig
from jobs.swap import SwapConfig
from made.noisy_photos import GATES, SETTINGS, NoisyPhotos
from operators.base.errors import UserError
from operators.models.saved.card import ModelCard
from pipelines.space.bridge import BridgeError

IMAGES = 40
"""Of which 36 are in the teacher's table."""
STUDENT = {"name": "timm:test_vit", "preprocess": {"image_size": 32}}
TINY = {"steps": 4, "batch": 16, "micro_batch": 8, "look_every": 2, "test": 0.4}


class Lake:
    def __init__(self, folder: Path) -> None:
        self.photos = NoisyPhotos(folder)
        self.photos.made(IMAGES - 4)
        self.folder = folder
        for number in range(IMAGES - 4, IMAGES):
            self.photos.draw(number)
        # Other bytes than the vector was made of; no image any more; a copy that must not stand on another side.
        self.photos.draw(3, version=1)
        (folder / "5.png").write_bytes(b"no image")
        rows = {
            "id": [f"i{number}" for number in range(IMAGES)],
            "uri": [f"{number}.png" for number in range(IMAGES)],
            "kind": [None if number == 7 else "ab"[number % 2] for number in range(IMAGES)],
        }
        self.manifest = str(folder / "source.parquet")
        pq.write_table(pa.table(rows), self.manifest)

    def config(self, name: str, **given: Any) -> DistilConfig:
        base = {
            "table": self.photos.table,
            "source": {"uri": self.manifest, "id_column": "id"},
            "model": STUDENT,
            "from_scratch": True,
            "out": f"{self.folder}/lake/models/{name}",
            "decode": {"isolate": False},
            "label": "kind",
            **TINY,
        }
        return load_config(DistilConfig, base={**base, **given})

    def distil(self, name: str, **given: Any) -> DistilReport:
        return run(self.config(name, **given))

    def embedded(self, model: str, table: str) -> str:
        base = {
            "source": {"uri": str(self.folder / "m.parquet"), "id_column": "id"},
            "table": f"{self.folder}/lake/{table}",
        }
        sets = (*SETTINGS, "decode.isolate=false")
        report = embed.run(embed.load(sets=sets, base={**base, "model": {"name": model, "backend": "torch"}}))
        assert report.vectors == IMAGES - 5
        return f"{self.folder}/lake/{table}"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(tmp_path_factory.mktemp("distil"))


@pytest.fixture(scope="module")
def found(lake: Lake) -> DistilReport:
    """A student that its teacher's queries are to find."""
    return lake.distil("small", space="teacher")


def card(lake: Lake, name: str) -> ModelCard:
    return ModelCard.model_validate_json(Path(lake.folder, "lake", "models", name, "model.json").read_text())


def test_images_without_a_vector_changed_ones_and_bad_ones_are_left_out_and_counted(found: DistilReport) -> None:
    on = found.images
    assert (on.drawn, sum(on.failures.values()), on.without_vector, on.changed) == (IMAGES, 1, 4, 1)
    assert on.trained + on.held_out + on.tested == IMAGES - 6
    assert on.joined_by == "id"
    text = as_text(found)
    assert "4 without a teacher's vector, 1 changed since their vector was made" in text
    assert "the teacher was not run here: null is no network that Pixlake runs" in text


def test_figures_are_of_the_teacher_the_untrained_and_the_student(found: DistilReport) -> None:
    assert [(each.who, each.dim) for each in found.figures] == [("teacher", 192), ("untrained", 192), ("student", 192)]
    assert found.figures[0].recall == 1
    assert all(each.right is not None for each in found.figures)
    assert found.best.across is not None
    assert found.student.macs > 0
    assert found.teacher is None
    assert [entry["step"] for entry in found.history] == [0, 2, 4]


def test_the_card_keeps_the_measure_of_its_teacher_s_queries(lake: Lake, found: DistilReport) -> None:
    made = card(lake, "small")
    assert made.teacher is not None
    assert (made.teacher.model, made.teacher.recall, made.teacher.queries) == (
        "null",
        found.best.across,
        found.images.tested,
    )
    assert made.weights_sha256 == found.weights_sha256
    assert made.recipe["command"] == "distil"
    assert not Path(lake.folder, "lake", "models", "small.work").exists()


@pytest.mark.slow
def test_the_teacher_s_queries_reach_its_student_by_request_alone(lake: Lake, found: DistilReport) -> None:
    table, image = lake.embedded(found.model, "small"), str(lake.folder / "2.png")
    own = search.run(SearchConfig(table=table, image=image, k=1))
    assert own.teacher is None
    assert own.results[0]["id"] == "i2"
    assert own.results[0]["score"] == pytest.approx(1, abs=1e-3)
    told = describe_text(describe.run(DescribeConfig(table=table)))
    assert f"queries by null, its teacher, find {found.best.across:.1%} of their 10 nearest here" in told
    across = search.run(SearchConfig(table=table, image=image, k=3, by_teacher=True))
    assert across.teacher is not None
    assert (across.teacher.model, across.teacher.recall) == ("null", found.best.across)
    # The null model's own vector of the image, among the student's rows.
    teachers = np.array(lake.photos.vectors()["i2"], np.float32)
    rows = {each: np.array(vector, np.float32) for each, vector in lake.photos.vectors(table=table).items()}
    scores = {each: float(vector @ teachers) for each, vector in rows.items()}
    assert across.results[0]["id"] == max(scores, key=lambda each: scores[each])
    assert across.results[0]["score"] == pytest.approx(max(scores.values()), abs=1e-3)
    with pytest.raises(UserError, match="a space of its own"):
        search.run(SearchConfig(table=lake.photos.table, image=image, by_teacher=True))
    there = Path(f"{lake.photos.table}.lance")
    away = there.rename(lake.folder / "away.lance")
    with pytest.raises(BridgeError, match="was taught by null"):
        search.run(SearchConfig(table=table, image=image, by_teacher=True))
    away.rename(there)


@pytest.mark.slow
def test_a_table_of_the_teacher_takes_no_rows_of_the_student(lake: Lake, found: DistilReport) -> None:
    base = {"source": {"uri": lake.manifest, "id_column": "id"}, "table": lake.photos.table}
    with pytest.raises(UserError, match="its vectors mean something else than this run's would"):
        embed.run(
            embed.load(sets=SETTINGS, base={**base, "model": {"name": found.model, "backend": "torch"}, "again": True})
        )


@pytest.mark.slow
def test_in_its_own_space_by_default_for_several_lengths_and_the_same_again(lake: Lake) -> None:
    settings: dict[str, Any] = {"dims": "16,8", "crops": 2, "hard_examples": 1.0, "least_area": 0.8}
    one, other = (lake.distil(name, **settings) for name in ("one", "other"))
    assert one.weights_sha256 == other.weights_sha256
    assert [(each.who, each.dim) for each in one.figures[1:]] == [("untrained", 16), ("student", 16), ("student", 8)]
    assert one.best.across is None
    made = card(lake, "one")
    assert (made.teacher, made.dim, made.dims) == (None, 16, (16, 8))
    assert "in a space of their own" in as_text(one)


def test_a_name_that_is_taken_and_settings_that_cannot_be_are_refused_at_once(lake: Lake, found: DistilReport) -> None:
    with pytest.raises(UserError, match="never overwritten"):
        lake.distil("small")
    for given, why in (
        ({"space": "teacher", "dims": "8"}, "leave --dims out"),
        ({"cosine": 0, "relational": 0}, "nothing would be taught"),
        ({"dims": "none"}, "lengths with commas"),
    ):
        with pytest.raises(ConfigError, match=why):
            lake.config("refused", **given)
    with pytest.raises(UserError, match="a vector of vector has 192 numbers"):
        lake.distil("refused", dims="200")
    with pytest.raises(UserError, match="a network is built anew from its name"):
        lake.distil("refused", model={"name": "efficientnet-lite0"})
    assert split_teacher("s3://b/lake/photos:vector_a") == ("s3://b/lake/photos", "vector_a")
    assert split_teacher("s3://b/lake/photos") == ("s3://b/lake/photos", None)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_taught(
    lake: Lake, found: DistilReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.distillation.student.free_memory", lambda device: 1 << 16)
    with pytest.raises(UserError, match=r"needs .* of memory .* Lower --batch or --crops"):
        lake.distil("too-large")


@pytest.mark.slow
def test_a_student_is_swapped_in_and_out(lake: Lake, found: DistilReport) -> None:
    def swapped(**given: Any) -> Any:
        sets = (*SETTINGS, *GATES)
        return swap.run(load_config(SwapConfig, sets=sets, base={"table": lake.photos.table, **given}))

    before = lake.photos.vectors()
    for number in (3, 5):
        # Of the bytes that were embedded: a backfill refuses others.
        lake.photos.draw(number)
    report = swapped(model={"name": found.model, "backend": "torch"}, decode={"isolate": False})
    assert report.swap.state == "flipped", json.dumps(report.model_dump(mode="json"), default=str)
    assert lake.photos.vectors() != before
    assert swapped(action="rollback").swap.state == "rolled_back"
    assert lake.photos.vectors() == before


@pytest.mark.slow
def test_two_workers_give_what_one_gives_batch_norm_included(lake: Lake) -> None:
    network = {"name": "timm:test_efficientnet", "preprocess": {"image_size": 32}}
    one, two = (lake.distil(f"workers-{count}", model=network, workers=count) for count in (1, 2))
    weights = [
        load_file(next(Path(lake.folder, "lake", "models", f"workers-{count}").glob("*.safetensors")))
        for count in (1, 2)
    ]
    assert weights[0].keys() == weights[1].keys()
    assert any("running_var" in name for name in weights[0])
    for name, each in weights[0].items():
        assert np.allclose(each, weights[1][name], rtol=1e-3, atol=1e-4), name
    for alone, shared in zip(one.history, two.history, strict=True):
        assert shared["held_out_loss"] == pytest.approx(alone["held_out_loss"], abs=1e-4)


@pytest.mark.slow
def test_killed_and_started_again_the_weights_are_the_same(lake: Lake) -> None:
    """From outside, by SIGKILL, once a checkpoint is there."""
    whole = lake.distil("undisturbed", steps=12)
    config = json.dumps(lake.config("killed", steps=12).model_dump(mode="json", exclude={"cluster"}))
    script = (
        "import json, sys; from jobs.config.load import load_config; from jobs.distil import DistilConfig, run\n"
        "run(load_config(DistilConfig, base=json.loads(sys.argv[1])))"
    )
    work = Path(lake.folder, "lake", "models", "killed.work")
    with subprocess.Popen([sys.executable, "-c", script, config]) as child:
        while not list(work.glob("training-*.safetensors")) and child.poll() is None:
            time.sleep(0.05)
        child.kill()
    resumed = lake.distil("killed", steps=12)
    assert resumed.resumed_at is not None
    assert resumed.weights_sha256 == whole.weights_sha256
