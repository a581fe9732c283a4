"""A coloured box at a known place is what a search by its colour finds, image and box, for each kind of region."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from coloured_boxes import BLUE, GREEN, RED, Box, box_of, save, upright
from command import Ended, embed_here, pixlake_here
from PIL import Image

AVG = ("--set", "model.pooling=avg")
"""Of the null model: its patches are the mean colours of its cells."""


@dataclass(frozen=True)
class Kind:
    """How regions are made, and a box that is one of them in every image."""

    box: Box
    regions: tuple[str, ...]
    more: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[str, ...]:
        return (*(part for each in self.regions for part in ("--set", f"regions.{each}")), *self.more)


KEEP = ("--set", "source.keep=[boxes]")
KINDS = {
    "grid": Kind((160, 60, 240, 120), ("kind=grid", "rows=4", "columns=4", "whole=true")),
    "tiles": Kind((180, 60, 240, 120), ("kind=tiles", "sizes=[120,60]")),
    "boxes": Kind((33, 47, 101, 200), ("kind=boxes", "column=boxes"), KEEP),
}


def make_source(folder: Path, box: Box, orientation: int) -> str:
    """Images of one box each, red, green or blue, and one without; the manifest gives two boxes of each."""
    colours = {"red": RED, "green": GREEN, "blue": BLUE, "plain": (125, 125, 125)}
    uris = [
        save(upright(box, colour, seed), folder / "images" / f"{name}.jpg", orientation)
        for seed, (name, colour) in enumerate(colours.items())
    ]
    boxes = [[[5, 3, 60, 40], list(box)]] * len(uris)
    table = pa.table({"uri": uris, "key": list(colours), "boxes": pa.array(boxes, pa.list_(pa.list_(pa.float32())))})
    pq.write_table(table, folder / "manifest.parquet")
    return str(folder / "manifest.parquet")


def embed(folder: Path, kind: Kind, *more: str, orientation: int = 1) -> str:
    manifest, table = make_source(folder, kind.box, orientation), f"{folder}/lake/photos"
    ended = embed_here(manifest, table, "--set", "source.id_column=key", *kind.settings, *more)
    assert ended.code == 0, ended.err
    return table


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
def red(tmp_path: Path) -> str:
    Image.new("RGB", (50, 50), RED).save(tmp_path / "query.png")
    return str(tmp_path / "query.png")


@pytest.mark.parametrize("orientation", [1, 6, 5, 3])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_its_colour_finds_the_box_of_the_upright_image(tmp_path: Path, red: str, kind: Kind, orientation: int) -> None:
    table = embed(tmp_path, kind, orientation=orientation)
    best, second = search(table, "--image", red, "-k", "2")
    assert (best["id"], box_of(best["region"])) == ("red", kind.box)
    assert best["score"] > 0.995 > second["score"]
    assert best["region_id"] == f"red#{best['region']['index']}"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_box_of_an_image_finds_itself(tmp_path: Path, kind: Kind) -> None:
    table = embed(tmp_path, kind, orientation=8)
    image = str(tmp_path / "images/green.jpg")
    pixels = ",".join(map(str, kind.box))
    shares = ",".join(str(edge / side) for edge, side in zip(kind.box, (320, 240, 320, 240), strict=True))
    for box in (pixels, shares):
        best = search(table, "--image", image, "--box", box, "-k", "1")[0]
        assert (best["id"], box_of(best["region"])) == ("green", kind.box)
        assert best["score"] == pytest.approx(1, abs=1e-3)
    again = search(table, "--id", best["region_id"], "-k", "1")[0]
    assert (again["region_id"], again["score"]) == (best["region_id"], pytest.approx(1, abs=1e-3))


def test_each_image_once_by_its_best_region(tmp_path: Path, red: str) -> None:
    kind = KINDS["grid"]
    table = embed(tmp_path, kind)
    regions = search(table, "--image", red, "-k", "4")
    grouped = search(table, "--image", red, "-k", "4", "--group")
    assert len({row["id"] for row in regions}) < 4
    assert {row["id"] for row in grouped} == {"red", "green", "blue", "plain"}
    assert grouped[0] == regions[0]
    assert [row["score"] for row in grouped] == sorted((row["score"] for row in grouped), reverse=True)
    every = search(table, "--image", red, "-k", "1000")
    assert len(every) == 4 * 17
    assert grouped == [next(row for row in every if row["id"] == each["id"]) for each in grouped]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_row_an_image_is_found_by_the_box_and_by_itself(tmp_path: Path, red: str, kind: Kind) -> None:
    table = embed(tmp_path, kind, "--set", "regions.layout=multivector")
    best, second = search(table, "--image", red, "-k", "2")
    assert (best["id"], box_of(best["region"])) == ("red", kind.box)
    assert best["score"] > 0.995 > second["score"]
    image = str(tmp_path / "images/blue.jpg")
    for query in (("--image", image), ("--id", "blue"), ("--image", image, "--box", ",".join(map(str, kind.box)))):
        best = search(table, *query, "-k", "1")[0]
        assert (best["id"], best["score"]) == ("blue", pytest.approx(1, abs=1e-3))
    assert box_of(best["region"]) == kind.box
    assert "regions" not in best


def test_what_a_box_cannot_be(tmp_path: Path) -> None:
    table, image = embed(tmp_path, KINDS["grid"]), str(tmp_path / "images/red.jpg")
    assert "lies outside" in refused("search", table, "--image", image, "--box", "400,10,500,20")
    assert "has no area" in refused("search", table, "--image", image, "--box", "40,10,40,20")
    assert "four numbers" in refused("search", table, "--image", image, "--box", "40,10,40")
    assert "--box is about --image" in refused("search", table, "--id", "red", "--box", "0,0,1,1")
    plain = f"{tmp_path}/lake/plain"
    assert embed_here(f"{tmp_path}/images", plain).code == 0
    assert "has no regions" in refused("search", plain, "--image", image, "--box", "0,0,1,1")
    assert "has no regions" in refused("search", plain, "--image", image, "--group")


@pytest.mark.parametrize(
    "changed", [("regions.rows=3",), ("regions.layout=multivector",), ("regions.resize=longest",)], ids=str
)
def test_other_regions_are_another_space(tmp_path: Path, changed: tuple[str, ...]) -> None:
    kind = KINDS["grid"]
    table = embed(tmp_path, kind)
    manifest, sets = f"{tmp_path}/manifest.parquet", tuple(part for each in changed for part in ("--set", each))
    known = ("embed", manifest, table, "--model", "null", "--set", "cluster.executor=local")
    key, _, value = changed[0].partition("=")
    said = refused(*known, *kind.settings, *sets)
    [line] = [each for each in said.splitlines() if key in each]
    assert "the table has" in line
    assert value in line
    assert "the table has {" in refused(*known)


def test_a_table_without_regions_takes_none(tmp_path: Path) -> None:
    kind = KINDS["grid"]
    manifest = make_source(tmp_path, kind.box, 1)
    table = f"{tmp_path}/lake/photos"
    assert embed_here(manifest, table).code == 0
    known = ("embed", manifest, table, "--model", "null", "--set", "cluster.executor=local")
    assert 'this run has {"' in refused(*known, *kind.settings)
