"""A coloured box at a known place is what a search by its colour finds, image and box, for each kind of region.

The images of a table are stored turned, each another way: boxes are of the upright ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from end_to_end.command import Ended, embed_here, pixlake_here
from made.coloured_boxes import BLUE, GREEN, RED, Box, box_of, save, upright
from made.square_detector import write_square_detector

IMAGES = {"red": (RED, 6), "green": (GREEN, 5), "blue": (BLUE, 3), "grey": ((125, 125, 125), 8)}
"""Name -> colour of its box, EXIF orientation."""
OF_REGION = {"grid": "grid", "tiles": "tile", "boxes": "box", "cells": "patch", "patches": "patch"}
KEEP = ("--set", "source.keep=[boxes]")


@dataclass(frozen=True)
class Kind:
    """How regions are made, and a box that is one of them in every image."""

    box: Box
    regions: tuple[str, ...]
    more: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[str, ...]:
        return (*(part for each in self.regions for part in ("--set", f"regions.{each}")), *self.more)


KINDS = {
    "grid": Kind((160, 60, 240, 120), ("kind=grid", "rows=4", "columns=4", "whole=true")),
    "tiles": Kind((180, 60, 240, 120), ("kind=tiles", "sizes=[120,60]")),
    "boxes": Kind((33, 47, 101, 200), ("kind=boxes", "column=boxes"), KEEP),
    # The null model sees the middle 240 x 240 pixels, as 8 x 8 cells.
    "cells": Kind((160, 60, 220, 120), ("kind=patches", "cells=4")),
    "patches": Kind((70, 60, 160, 150), ("kind=patches", "column=boxes"), KEEP),
}
EACH = pytest.mark.parametrize("kind", KINDS)
Tables = Callable[..., str]


def make_source(folder: Path, box: Box) -> str:
    """Images of one box each; the manifest gives two boxes of each."""
    uris = [
        save(upright(box, colour, seed), folder / "images" / f"{name}.jpg", orientation)
        for seed, (name, (colour, orientation)) in enumerate(IMAGES.items())
    ]
    boxes = [[[45, 3, 100, 40], list(box)]] * len(uris)
    table = pa.table({"uri": uris, "key": list(IMAGES), "boxes": pa.array(boxes, pa.list_(pa.list_(pa.float32())))})
    pq.write_table(table, folder / "manifest.parquet")
    return str(folder / "manifest.parquet")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The table of a kind and a layout, made once: `lake/photos`, beside it the folder `images`."""

    @cache
    def made(kind: str, layout: str = "rows") -> str:
        folder = tmp_path_factory.mktemp(kind)
        manifest, table = make_source(folder, KINDS[kind].box), f"{folder}/lake/photos"
        settings = (*KINDS[kind].settings, "--set", f"regions.layout={layout}", "--set", "source.id_column=key")
        ended = embed_here(manifest, table, *settings)
        assert ended.code == 0, ended.err
        return table

    return made


def exactly(box: Box) -> Any:
    """But for what the model's input, in whole pixels, shifts the edges of cells."""
    return pytest.approx(box, abs=0.2)


def image_of(table: str, name: str) -> str:
    return str(Path(table).parents[1] / "images" / f"{name}.jpg")


def search(table: str, *query: str) -> list[dict[str, Any]]:
    ended = pixlake_here("search", table, *query, "--json")
    assert ended.code == 0, ended.err
    results: list[dict[str, Any]] = ended.json["results"]
    return results


def refused(*arguments: str) -> str:
    ended: Ended = pixlake_here(*arguments)
    assert ended.code == 2, ended.err
    return ended.err


@pytest.fixture
def solid(tmp_path: Path) -> Callable[[str], str]:
    """An image of nothing but the colour of another's box."""

    def made(name: str) -> str:
        path = tmp_path / f"{name}.png"
        Image.new("RGB", (50, 50), IMAGES[name][0]).save(path)
        return str(path)

    return made


@EACH
def test_its_colour_finds_the_box_of_the_upright_image(tables: Tables, solid: Callable[[str], str], kind: str) -> None:
    for name in ("red", "green", "blue"):
        best, second = search(tables(kind), "--image", solid(name), "-k", "2")
        assert (best["id"], box_of(best["region"])) == (name, exactly(KINDS[kind].box))
        assert best["score"] > 0.995 > second["score"]
        assert best["region"]["kind"] == OF_REGION[kind]
        assert best["region_id"] == f"{name}#{best['region']['index']}"


@EACH
def test_a_box_of_an_image_finds_itself(tables: Tables, kind: str) -> None:
    table, box = tables(kind), KINDS[kind].box
    pixels = ",".join(map(str, box))
    shares = ",".join(str(edge / side) for edge, side in zip(box, (320, 240, 320, 240), strict=True))
    for text in (pixels, shares):
        best = search(table, "--image", image_of(table, "green"), "--box", text, "-k", "1")[0]
        assert (best["id"], box_of(best["region"])) == ("green", exactly(box))
        assert best["score"] == pytest.approx(1, abs=1e-3)
    again = search(table, "--id", best["region_id"], "-k", "1")[0]
    assert (again["region_id"], again["score"]) == (best["region_id"], pytest.approx(1, abs=1e-3))


def test_an_image_finds_itself_as_a_whole_where_the_table_has_wholes(tables: Tables) -> None:
    for query in (("--image", image_of(tables("grid"), "blue")), ("--id", "blue")):
        best = search(tables("grid"), *query, "-k", "1")[0]
        assert (best["region_id"], best["region"]["kind"]) == ("blue#0", "whole")
        assert best["score"] == pytest.approx(1, abs=1e-3)


def test_each_image_once_by_its_best_region(tables: Tables, solid: Callable[[str], str]) -> None:
    query = ("--image", solid("red"))
    regions = search(tables("grid"), *query, "-k", "4")
    grouped = search(tables("grid"), *query, "-k", "4", "--group")
    assert len({row["id"] for row in regions}) < 4
    assert {row["id"] for row in grouped} == set(IMAGES)
    assert grouped[0] == regions[0]
    every = search(tables("grid"), *query, "-k", "1000")
    assert len(every) == 4 * 17
    assert grouped == [next(row for row in every if row["id"] == each["id"]) for each in grouped]
    shown = pixlake_here("search", tables("grid"), *query, "-k", "1").out
    assert shown.endswith("  grid 160,60,240,120  red#7\nscore: cosine\n")
    assert shown.split()[1] == grouped[0]["uri"]


def test_a_row_an_image_is_found_by_the_box_and_by_itself(tables: Tables, solid: Callable[[str], str]) -> None:
    for kind in ("grid", "cells"):
        table = tables(kind, "multivector")
        best, second = search(table, "--image", solid("red"), "-k", "2", "--group")
        assert (best["id"], box_of(best["region"])) == ("red", exactly(KINDS[kind].box))
        assert best["score"] > 0.995 > second["score"]
        image = image_of(table, "blue")
        box = ",".join(map(str, KINDS[kind].box))
        for query in (("--image", image), ("--id", "blue"), ("--image", image, "--box", box)):
            best = search(table, *query, "-k", "1")[0]
            assert (best["id"], best["score"]) == ("blue", pytest.approx(1, abs=1e-3))
        assert box_of(best["region"]) == exactly(KINDS[kind].box)
        assert not {"regions", "vector"} & set(best)


@pytest.mark.parametrize("layout", ["rows", pytest.param("multivector", marks=pytest.mark.slow)])
def test_what_a_detector_finds_is_found_by_its_box_and_its_label(
    tmp_path: Path, solid: Callable[[str], str], layout: str
) -> None:
    """The detector finds red squares on a grid of 10 pixels; of the other images the whole is the one region."""
    detector = write_square_detector(tmp_path / "detector")
    kind = Kind((160, 60, 240, 120), ("kind=detector", f"model=transformers:{detector}", "image_size=256"))
    manifest, table = make_source(tmp_path, kind.box), f"{tmp_path}/lake/photos"
    chosen = ("--set", f"regions.layout={layout}", "--set", "source.id_column=key")
    ended = embed_here(manifest, table, *kind.settings, *chosen)
    assert ended.code == 0, ended.err
    best, second = search(table, "--image", solid("red"), "--box", "0,0,1,1", "-k", "2")
    assert (best["id"], box_of(best["region"])) == ("red", pytest.approx(kind.box, abs=1))
    assert (best["region"]["kind"], best["region"]["label"]) == ("detection", "square")
    assert best["score"] > 0.99 > second["score"]
    assert second["region"]["kind"] == "whole"
    if layout == "rows":
        [row] = search(table, "--id", "red", "-k", "9", "--where", "region.label = 'square'")
        assert row["region_id"] == "red#0"
    else:
        itself = search(table, "--image", f"{tmp_path}/images/red.jpg", "-k", "1")[0]
        assert (itself["id"], itself["score"]) == ("red", pytest.approx(1, abs=1e-3))


@pytest.mark.parametrize("layout", ["rows", "multivector"])
def test_what_is_derived_is_derived_of_each_region(tmp_path: Path, layout: str) -> None:
    """By the run, by `reduce`, and by the run that adds the rest: a box finds itself by every one."""
    kind, table = KINDS["grid"], f"{tmp_path}/lake/photos"
    manifest = make_source(tmp_path, kind.box)
    chosen = (*kind.settings, "--set", f"regions.layout={layout}", "--set", "source.id_column=key")
    shorter = "reduce.vector_64={truncate_dim: 64, allow_untrained_truncation: true}"
    assert embed_here(manifest, table, *chosen, "--set", shorter, "--limit", "2").code == 0
    local = ("--set", "cluster.executor=local")
    assert pixlake_here("reduce", table, "vector_bits", "--base", "vector", "--quantise", "binary", *local).code == 0
    assert embed_here(manifest, table, *chosen).code == 0
    box = ",".join(map(str, kind.box))
    for name in ("red", "blue"):
        for column in (("vector",), ("vector_64",), ("vector_bits", "--rescore", "vector")):
            query = ("--image", f"{tmp_path}/images/{name}.jpg", "--box", box, "--column", *column)
            best = search(table, *query, "-k", "1", "--group")[0]
            assert (best["id"], box_of(best["region"])) == (name, kind.box), column
            assert best["score"] == pytest.approx(1, abs=1e-3)


def test_what_a_box_cannot_be(tables: Tables) -> None:
    table, image = tables("grid"), image_of(tables("grid"), "red")
    assert "lies outside" in refused("search", table, "--image", image, "--box", "400,10,500,20")
    assert "has no area" in refused("search", table, "--image", image, "--box", "40,10,40,20")
    assert "'40,10,40' is not four numbers x0,y0,x1,y1" in refused("search", table, "--image", image, "--box=40,10,40")
    assert "--box is about --image" in refused("search", table, "--id", "red", "--box", "0,0,1,1")


def test_other_regions_are_another_space(tables: Tables, tmp_path: Path) -> None:
    table, kind = tables("grid"), KINDS["grid"]
    manifest = str(Path(table).parents[1] / "manifest.parquet")
    known = ("embed", manifest, "--model", "null", "--set", "cluster.executor=local")
    changed = ("rows=3", "layout=multivector", "resize=longest")
    said = refused(*known, table, *kind.settings, *(part for each in changed for part in ("--set", f"regions.{each}")))
    for line in (
        "decode.regions.rows: the table has 4, this run has 3",
        'decode.regions.layout: the table has "rows", this run has "multivector"',
        'decode.regions.resize: the table has "squash", this run has "longest"',
    ):
        assert line in said
    assert 'decode.regions: the table has {"columns": 4' in refused(*known, table)
    plain = f"{tmp_path}/lake/plain"
    assert embed_here(manifest, plain).code == 0
    assert 'decode.regions: the table has null, this run has {"layout": "rows"' in refused(
        *known, plain, *kind.settings
    )
    image = image_of(table, "red")
    assert "has no regions, so --group means nothing" in refused("search", plain, "--image", image, "--group")


def test_the_plan_shows_regions_and_blocks_in_images(tables: Tables, tmp_path: Path) -> None:
    manifest = str(Path(tables("grid")).parents[1] / "manifest.parquet")
    said = embed_here(
        manifest, f"{tmp_path}/lake/none", *KINDS["grid"].settings, "--set", "cluster.block_rows=128", "--dry-run"
    ).out
    assert 'regions  grid: layout "rows", without_regions' in said
    assert "; 7 images a block, 60 a fragment" in said
    assert "column   region_id: string" in said
    assert "column   vector: fixed_size_list<item: halffloat>[192]" in said
    assert "space    vector: decode.alpha: white" in said
