"""Gates that run a network: canaries, and queries in words by the models of both columns."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.config.read import ReadConfig
from jobs.embed import load as load_embed
from jobs.embed import run as embed
from jobs.looking.images import packed_rows
from jobs.session.progress import Progress
from jobs.swapping.gate_report import Gate, GateConfig, GateReport
from jobs.swapping.gates import run_gates
from made.open_clip_folders import write_folder
from operators.api.options import NO_API_OPTIONS
from operators.fetching.options import FetchOptions
from operators.models.canaries import record_canaries
from operators.storage.stores import NO_OPTIONS
from pipelines.space.field import CANARIES_KEY, read_canaries
from pipelines.table.table import Table

OLD, NEW = "vector_a", "vector_b"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("models")
    (folder / "images").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)):
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    name = f"{folder}/lake/photos"
    folders = {"a": write_folder(folder / "a", "clip"), "b": write_folder(folder / "b", "clipa")}
    models = {name: {"name": f"open_clip:local-dir:{each}"} for name, each in folders.items()}
    base = {"source": {"uri": str(folder / "images")}, "table": name, "models": models}
    embed(load_embed(base={**base, "cluster": {"executor": "local"}, "decode": {"isolate": False}}))
    return Table.of(name)


def gates_of(table: Table, folder: Path) -> GateReport:
    ids = table.latest().to_table(columns=["id"])["id"].to_pylist()
    pq.write_table(_queries(ids), folder / "queries.parquet")
    with Progress() as progress:
        return run_gates(
            GateConfig(queries=str(folder / "queries.parquet")),
            table,
            old=OLD,
            new=NEW,
            storage=NO_OPTIONS,
            fetch=FetchOptions(),
            api=NO_API_OPTIONS,
            packed=packed_rows(ReadConfig(table=str(table))),
            progress=progress,
        )


def _queries(ids: list[str]) -> pa.Table:
    return pa.table({"text": ["a cat on a sofa", "rain"], "ids": [ids[:3], ids[5:]]})


def gate(report: GateReport, name: str) -> Gate:
    [found] = [each for each in report.gates if each.name == name]
    return found


def test_words_go_through_both_models_and_canaries_through_the_new_one(table: Table, tmp_path: Path) -> None:
    report = gates_of(table, tmp_path)
    # Ten are asked for, and six are there: all are found, in an order that random weights decide.
    assert gate(report, "quality.recall@10").old == gate(report, "quality.recall@10").new == 1
    discounted = gate(report, "quality.ndcg@10")
    assert discounted.old != discounted.new
    assert discounted.rows == 2
    canaries = gate(report, "canaries")
    assert canaries.passed
    assert canaries.new == pytest.approx(1, abs=1e-3)
    assert (canaries.threshold, canaries.rows) == (0.999, 16)


def test_a_model_that_gives_other_vectors_than_were_recorded_fails(table: Table, tmp_path: Path) -> None:
    dataset = table.latest()
    field = dataset.schema.field(NEW)
    recorded = read_canaries(field)
    assert recorded is not None
    turned = np.roll(recorded.to_numpy(), 1, axis=0)
    other = record_canaries(turned, name="m", precision="float32", device="cpu").model_dump_json()
    metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
    lance.dataset(table.uri).replace_field_metadata(NEW, {**metadata, CANARIES_KEY.decode(): other})
    try:
        # Words need no image tower, so the rest can still be measured.
        report = gates_of(table, tmp_path)
    finally:
        lance.dataset(table.uri).replace_field_metadata(NEW, metadata)
    found = gate(report, "canaries")
    assert found.passed is False
    assert found.new is not None
    assert found.new < 0.999
    assert "canaries" in report.failed
