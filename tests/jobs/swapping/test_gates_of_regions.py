"""Gates and bridges of tables with several vectors per image, a row each or in lists: everything goes by image."""

from pathlib import Path

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
from operators.api.options import NO_API_OPTIONS
from operators.fetching.options import FetchOptions
from operators.storage.stores import NO_OPTIONS
from pipelines.gate.bridge import fit_bridge
from pipelines.table.table import Table

IMAGES = 24
OLD, NEW = "vector_mean", "vector_grid"


@pytest.fixture(scope="module", params=["rows", "multivector"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table, str]:
    """Images of four colours, each image in regions: the whole, and a cell for each of the colours."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "images").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (IMAGES, 2, 2, 3)).astype(np.uint8)
    for number, four in enumerate(colours):
        Image.fromarray(four.repeat(32, axis=0).repeat(32, axis=1)).save(folder / "images" / f"{number}.png")
    names = [str(number) for number in range(IMAGES)]
    kinds = ["even" if number % 2 == 0 else "odd" for number in range(IMAGES)]
    uris = [f"images/{name}.png" for name in names]
    pq.write_table(pa.table({"id": names, "uri": uris, "kind": kinds}), folder / "manifest.parquet")
    table = f"{folder}/lake/photos"
    base = {
        "source": {"uri": str(folder / "manifest.parquet"), "id_column": "id", "keep": ["kind"]},
        "table": table,
        "models": {"mean": {"name": "null", "pooling": "avg"}, "grid": {"name": "null"}},
        "regions": {"kind": "grid", "rows": 2, "columns": 2, "whole": True, "layout": request.param},
        "cluster": {"executor": "local"},
        "decode": {"isolate": False},
    }
    embed(load_embed(base=base))
    return folder, Table.of(table), request.param


def gates_of(made: tuple[Path, Table, str], **config: object) -> GateReport:
    folder, table, _ = made
    with Progress() as progress:
        return run_gates(
            GateConfig(**config),  # type: ignore[arg-type]
            table,
            old=OLD,
            new=NEW,
            storage=NO_OPTIONS,
            fetch=FetchOptions(allowed_roots=(str(folder),)),
            api=NO_API_OPTIONS,
            packed=packed_rows(ReadConfig(table=str(table))),
            progress=progress,
        )


def gate(report: GateReport, name: str) -> Gate:
    [found] = [each for each in report.gates if each.name == name]
    return found


def test_copies_find_their_image_among_all_regions(made: tuple[Path, Table, str]) -> None:
    report = gates_of(made, copies=IMAGES)
    rows = IMAGES * 5 if made[2] == "rows" else IMAGES
    assert gate(report, "coverage").rows == rows
    assert gate(report, "finite").rows == 5 * IMAGES
    found = gate(report, "quality.copies_found")
    assert found.rows == IMAGES
    assert found.old is not None
    assert found.new is not None
    # A flip of four colours is another image to the grid, and none to the mean colour; the rest finds itself.
    assert found.new >= 0.6
    assert found.old >= 0.9


def test_labels_are_of_images_and_no_region_of_the_query_counts(made: tuple[Path, Table, str]) -> None:
    report = gates_of(made, label="kind", sample=60)
    found = gate(report, "quality.mean_average_precision")
    assert found.rows == (60 if made[2] == "rows" else IMAGES)
    # Kinds say nothing of the colours.
    assert found.new == pytest.approx(0.5, abs=0.15)
    assert gate(report, "overlap").rows == found.rows


def test_queries_are_answered_by_images_each_once(made: tuple[Path, Table, str]) -> None:
    folder = made[0]
    rows = {"image": [f"images/{number}.png" for number in range(10)], "ids": [[str(number)] for number in range(10)]}
    pq.write_table(pa.table(rows), folder / "queries.parquet")
    report = gates_of(made, queries=str(folder / "queries.parquet"))
    for name in ("quality.recall@10", "quality.ndcg@10"):
        assert gate(report, name).old == gate(report, name).new == 1


def test_a_bridge_pairs_region_with_region(made: tuple[Path, Table, str]) -> None:
    record = fit_bridge(made[1], old=OLD, new=NEW, name="next")
    assert record.rows + 2 * record.loss.rows == pytest.approx(5 * IMAGES, abs=100)
    assert record.loss.recall > 0.4
    assert record.loss.cosine > 0.9
