"""Kept columns under other names, from the command to the table and back; and names that are refused before a start."""

import json
from pathlib import Path

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from jobs.cli import app
from jobs.config.renamings import renamings
from jobs.embed import EmbedConfig, plan, run
from made.table import make
from operators.base.errors import UserError
from pipelines.manifests.manifest import SourceError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for colour in ("red", "blue"):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{colour}.png")
    rows = {"uri": ["red.png", "blue.png"], "exif.make": ["a", "b"], "score": [0.5, 1.5], "Label": ["r", "b"]}
    pq.write_table(pa.table(rows), tmp_path / "m.parquet")
    return tmp_path / "m.parquet"


def config(manifest: Path, **source: object) -> EmbedConfig:
    values = {
        "source": {"uri": str(manifest), **source},
        "table": str(manifest.parent / "lake" / "t"),
        "model": {"name": "null"},
        "cluster": {"executor": "local"},
        "decode": {"isolate": False},
    }
    return EmbedConfig.model_validate(values)


RENAMED = {"exif.make": "camera", "score": "rating"}


def test_a_renamed_column_is_in_the_table_in_its_plan_and_in_its_record(manifest: Path) -> None:
    asked = config(manifest, keep=["exif.make", "score", "Label"], rename=RENAMED)
    text = plan(asked).text()
    assert "rename   exif.make is called camera\nrename   score is called rating\n" in text
    assert "column   camera: string" in text
    assert run(asked).status == "complete"
    table = lancedb.connect(manifest.parent / "lake").open_table("t").to_arrow().sort_by("camera")
    assert table.select(["camera", "rating", "Label"]).to_pylist() == [
        {"camera": "a", "rating": 0.5, "Label": "r"},
        {"camera": "b", "rating": 1.5, "Label": "b"},
    ]
    [stored] = (manifest.parent / "lake" / "t__runs").glob("*/config.json")
    assert json.loads(stored.read_text())["source"]["rename"] == RENAMED
    assert run(asked).embedded_now == 0
    other = config(manifest, keep=["exif.make", "score", "Label"], rename={**RENAMED, "Label": "label"})
    with pytest.raises(UserError, match="label: not in the table"):
        run(other.model_copy(update={"again": True}))


@pytest.mark.parametrize(("keep", "cure"), [("exif.make", "exif.make=exif_make"), ("score", "score=manifest_score")])
def test_a_name_that_ends_badly_is_refused_before_anything_is_there(manifest: Path, keep: str, cure: str) -> None:
    for start in (plan, run):
        with pytest.raises(SourceError, match=f"--rename {cure}"):
            start(config(manifest, keep=[keep]))
    assert not (manifest.parent / "lake").exists()


def test_a_table_that_has_such_a_column_already_is_fed_as_before(tmp_path: Path) -> None:
    made = make(tmp_path)
    lancedb.connect(tmp_path / "lake").open_table("colours").add_columns(pa.field("Score", pa.int32()))
    lancedb.connect(tmp_path / "lake").open_table("colours").add_columns(pa.field("score", pa.int32()))
    rows = pq.read_table(made.manifest)
    pq.write_table(rows.append_column("score", rows["length"]), made.manifest)
    source = made.config.source.model_copy(update={"keep": ("length", "score")})
    assert run(made.config.model_copy(update={"source": source, "again": True})).vectors == 5


def test_the_option_takes_old_and_new_names(manifest: Path) -> None:
    assert renamings(["a.b=c", "x=y=z"]) == {"a.b": "c", "x=y": "z"}
    for given, says in ((["a"], "write OLD=NEW"), (["a=b", "a=c"], "a is renamed to b already")):
        with pytest.raises(UserError, match=says):
            renamings(given)
    options = ["--model", "null", "--set", "source.keep=[exif.make]", "--set", "cluster.executor=local", "--dry-run"]
    table = f"{manifest.parent}/lake/t"
    said = CliRunner().invoke(app, ["embed", str(manifest), table, *options, "--rename", "exif.make=camera"])
    assert "rename   exif.make is called camera" in said.output
