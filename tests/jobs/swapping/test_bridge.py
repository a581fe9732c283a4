"""A bridge on a table that the embed job made: the new model's queries search the old column, and what that loses is
said on stderr and in JSON."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from end_to_end.command import embed_here, pixlake_here
from jobs.config.load import ConfigError, load_config
from jobs.embed import load as load_embed
from jobs.embed import run as embed
from jobs.search import SearchConfig, run
from jobs.session.progress import Progress
from jobs.swapping.bridge import BridgeReport, as_text, fit_bridge_of
from operators.base.errors import UserError
from pipelines.run.cluster import ClusterConfig
from pipelines.table.table import Table

COLOURS = 150


@pytest.fixture(scope="module")
def bridged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, BridgeReport]:
    """Images of one colour: the grid of colours is the mean colour, 64 times, so the bridge between them is exact."""
    folder = tmp_path_factory.mktemp("bridge")
    (folder / "images").mkdir()
    for number, colour in enumerate(np.random.default_rng(0).integers(20, 256, (COLOURS, 3)).tolist()):
        Image.new("RGB", (16, 16), tuple(colour)).save(folder / "images" / f"{number}.png")
    table = f"{folder}/lake/photos"
    models = {"mean": {"name": "null", "pooling": "avg"}, "grid": {"name": "null"}}
    base = {"source": {"uri": str(folder / "images")}, "table": table, "models": models}
    embed(load_embed(base={**base, "cluster": {"executor": "local"}, "decode": {"isolate": False}}))
    cluster = load_embed(base={**base, "cluster": {"executor": "local"}}).cluster
    with Progress() as progress:
        report = fit_bridge_of(
            Table.of(table), old="vector_mean", new="vector_grid", cluster=cluster, progress=progress
        )
    return folder, table, report


def test_the_report_says_what_the_bridge_loses(bridged: tuple[Path, str, BridgeReport]) -> None:
    _, table, report = bridged
    loss = report.bridge.loss
    assert report.bridge.name == "vector_grid"
    assert loss.cosine == pytest.approx(1, abs=1e-4)
    # Colours lie close together: what float16 rounds changes who is tenth.
    assert loss.recall > 0.9
    assert loss.overlap > 0.9
    assert f"recall@10 {loss.recall:.4f}" in as_text(report)
    assert f"pixlake search {table} --image IMAGE --bridge vector_grid" in as_text(report)


def test_a_query_over_the_bridge_finds_what_the_old_model_finds(bridged: tuple[Path, str, BridgeReport]) -> None:
    folder, table, report = bridged
    for number in range(0, COLOURS, 30):
        image = str(folder / "images" / f"{number}.png")
        over = run(SearchConfig(table=table, image=image, bridge="vector_grid", k=1))
        own = run(SearchConfig(table=table, image=image, column="vector_mean", k=1))
        assert over.column == "vector_mean"
        assert over.bridge is not None
        assert over.bridge.loss == report.bridge.loss
        assert Path(over.results[0]["uri"]).stem == str(number)
        assert over.results[0]["score"] == pytest.approx(own.results[0]["score"], abs=1e-3)
        assert own.bridge is None


def test_the_loss_is_never_silent(bridged: tuple[Path, str, BridgeReport]) -> None:
    folder, table, report = bridged
    asked = ("search", table, "--image", str(folder / "images" / "1.png"), "--bridge", "vector_grid")
    said = pixlake_here(*asked)
    share = f"{report.bridge.loss.recall:.1%}"
    assert said.code == 0
    assert f"over the bridge vector_grid: queries by null find {share} of the 10 nearest" in said.err
    as_json = pixlake_here(*asked, "--json")
    assert as_json.json["bridge"]["loss"]["recall"] == report.bridge.loss.recall
    assert share in as_json.err


def test_what_a_bridge_is_not_for_is_refused(bridged: tuple[Path, str, BridgeReport]) -> None:
    folder, table, _ = bridged
    image = str(folder / "images" / "1.png")
    with pytest.raises(ConfigError, match="--bridge is about --image"):
        load_config(SearchConfig, base={"table": table, "text": "a cat", "bridge": "vector_grid"})
    with pytest.raises(UserError, match="does not lead to vector_grid"):
        run(SearchConfig(table=table, image=image, bridge="vector_grid", column="vector_grid"))
    with pytest.raises(UserError, match="no bridge 'other'; there: vector_grid"):
        run(SearchConfig(table=table, image=image, bridge="other"))
    with Progress() as progress, pytest.raises(UserError, match="a name has letters"):
        fit_bridge_of(
            Table.of(table),
            old="vector_mean",
            new="vector_grid",
            name="a/b",
            cluster=_cluster(),
            progress=progress,
        )


def _cluster() -> ClusterConfig:
    return load_embed(base={"source": {"uri": "x"}, "table": "a/b", "cluster": {"executor": "local"}}).cluster


def test_a_swap_fits_one_and_it_leads_to_the_old_column_whatever_that_is_called(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number, colour in enumerate(np.random.default_rng(1).integers(20, 256, (80, 3)).tolist()):
        Image.new("RGB", (16, 16), tuple(colour)).save(tmp_path / "images" / f"{number}.png")
    table, image = f"{tmp_path}/lake/photos", str(tmp_path / "images" / "7.png")
    assert embed_here(str(tmp_path / "images"), table).code == 0
    local = ("--set", "cluster.executor=local")
    assert "no swap is on" in pixlake_here("swap", table, "--bridge", *local).err
    swapped = pixlake_here("swap", table, "--set", "model.pooling=avg", "--to", "backfill", *local)
    assert swapped.code == 0, swapped.err
    fitted = pixlake_here("swap", table, "--bridge", *local)
    assert fitted.code == 0, fitted.err
    assert "from vector_next (null) to vector" in fitted.out
    as_json = pixlake_here("swap", table, "--bridge", "--json", *local).json
    assert as_json["bridge"]["bridge"]["loss"]["cosine"] > 0.999

    def searched() -> tuple[str, str]:
        found = pixlake_here("search", table, "--image", image, "--bridge", "vector_next", "-k", "1", "--json")
        assert found.code == 0, found.err
        return found.json["column"], Path(found.json["results"][0]["uri"]).stem

    assert searched() == ("vector", "7")
    assert pixlake_here("swap", table, "--insist", *local).code == 0
    assert searched() == ("vector_before", "7")
    assert pixlake_here("swap", table, "--rollback").code == 0
    assert searched() == ("vector", "7")
