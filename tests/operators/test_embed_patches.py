"""Regions of patches: a coloured square at a known place, under EXIF rotation, is found in its cell and in its box."""

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from made.failpoints_on import failing_at
from operators.base.columns import IMAGE_BYTES, SOURCE_SCHEMA
from operators.base.errors import UserError
from operators.base.operator import OperatorConfig
from operators.decode import DecodeConfig
from operators.embed import EmbedPixelsConfig
from operators.embed_patches import PatchEmbedConfig, check_same_cells, patch_spec
from operators.models.load import describe
from operators.models.null import MeanColours
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.pixels.preprocess import Preprocess, PreprocessOverrides
from operators.regions.options import PatchesOptions

RED, GREY = (220, 20, 30), (128, 128, 128)
TURNS = {1: lambda p: p, 3: lambda p: np.rot90(p, 2), 6: lambda p: np.rot90(p, 1), 8: lambda p: np.rot90(p, -1)}
"""From the upright image to the stored one, by EXIF orientation."""
BOXES = pa.field("boxes", pa.list_(pa.list_(pa.float64())))


@cache
def model_named(name: str, resize: Any = None) -> ModelDescription:
    overrides = PreprocessOverrides(resize=resize, crop_pct=1 if resize else None)
    spec = parse_model_name(name).model_copy(update={"preprocess": overrides})
    return describe(patch_spec(spec))


def with_square(width: int, height: int, box: tuple[int, int, int, int], orientation: int = 1) -> bytes:
    """A PNG that shows, upright, `width` x `height` of grey with a red square at `box`."""
    upright = np.full((height, width, 3), GREY, np.uint8)
    upright[box[1] : box[3], box[0] : box[2]] = RED
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(TURNS[orientation](upright))).save(out, "PNG", exif=exif)
    return out.getvalue()


def embedded(images: list[bytes], model: ModelDescription, boxes: list[Any] | None = None, **options: Any) -> pa.Table:
    columns: dict[str, Any] = {f.name: pa.nulls(len(images), f.type) for f in SOURCE_SCHEMA}
    columns |= {"shard": [0] * len(images), "row": list(range(len(images)))}
    batch = pa.Table.from_pydict(columns, schema=SOURCE_SCHEMA)
    batch = batch.append_column(IMAGE_BYTES, pa.array(images, IMAGE_BYTES.type))
    if boxes is not None:
        batch, options = batch.append_column(BOXES, pa.array(boxes, BOXES.type)), {"column": "boxes", **options}
    chain: list[OperatorConfig] = [
        DecodeConfig(targets={"pixels": model.preprocess}, isolate=False),
        PatchEmbedConfig(
            embed=EmbedPixelsConfig(model=model, num_threads=1), regions=PatchesOptions(kind="patches", **options)
        ),
    ]
    for config in chain:
        batch = config.build()(batch)
    return batch


def match(vectors: Any, wanted: np.ndarray) -> int:
    """The index of the vector with the largest cosine."""
    array = np.array(vectors)
    return int((array @ wanted / np.linalg.norm(array, axis=1)).argmax())


@cache
def seen_elsewhere(model: ModelDescription, width: int, height: int) -> np.ndarray:
    """The vector of a square of this size at another place of another image than the tests have it at."""
    box = (130, 180, 130 + width, 180 + height)
    table = embedded([with_square(480, 360, box)], model, [[list(box)]])
    return np.array(table["vector"].to_pylist()[0][0])


def box_of(region: dict[str, Any]) -> list[float]:
    return [region["box"][corner] for corner in ("x0", "y0", "x1", "y1")]


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(("name", "cells"), [("null", 4), ("efficientnet-lite0", 3)])
def test_a_square_is_the_best_match_of_its_cell(name: str, cells: int, orientation: int) -> None:
    """480 x 360 upright, squashed into the model's input: a cell is a third or a quarter of either side."""
    model, (across, down) = model_named(name, "squash"), (480 // cells, 360 // cells)
    column, row = 2, 1
    box = (column * across, row * down, (column + 1) * across, (row + 1) * down)
    table = embedded([with_square(480, 360, box, orientation)], model, cells=cells)
    regions = table["regions"].to_pylist()[0]
    best = match(table["vector"].to_pylist()[0], seen_elsewhere(model, across, down))
    assert best == row * cells + column
    assert [region["index"] for region in regions] == list(range(cells**2))
    assert {region["kind"] for region in regions} == {"patch"}
    assert np.allclose(box_of(regions[best]), box, atol=1e-3)
    assert table.schema.field("vector").type == pa.list_(pa.list_(pa.field("item", pa.float32()), model.dim))


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["null", "efficientnet-lite0"])
def test_a_square_is_the_best_match_of_its_box(name: str, orientation: int) -> None:
    """In the model's own centre crop of 480 x 360, given as fractions and with widths."""
    box = (250, 40, 370, 160)
    boxes = [[60, 30, 150, 120], list(box), [100, 200, 200, 330], [300, 190, 400, 350]]
    fractions = [[x0 / 480, y0 / 360, (x1 - x0) / 480, (y1 - y0) / 360] for x0, y0, x1, y1 in boxes]
    image, model = with_square(480, 360, box, orientation), model_named(name)
    for table in (
        embedded([image], model, [boxes]),
        embedded([image], model, [fractions], format="xywh", normalized=True),
    ):
        assert match(table["vector"].to_pylist()[0], seen_elsewhere(model, 120, 120)) == 1
        assert np.allclose([box_of(region) for region in table["regions"].to_pylist()[0]], boxes, atol=1e-3)


def test_a_box_that_the_crop_cuts_away_fails_its_row_alone() -> None:
    image, model = with_square(900, 300, (0, 0, 10, 10)), model_named("null")
    boxes = [[[400, 50, 500, 150]], [[10, 10, 100, 100]], [[10, 10, 500, 100]], [[1000, 0, 1100, 100]], [[1, 2, 3]]]
    table = embedded([image] * 5, model, boxes)
    assert table["error_class"].to_pylist() == [None, "bad_regions", None, "bad_regions", "bad_regions"]
    message = table["error"].to_pylist()[1]
    assert "box 0 (10, 10, 100, 100) is cut away by the crop" in message
    assert "model.preprocess.resize=squash (or longest) with model.preprocess.crop_pct=1" in message
    assert [each and len(each) for each in table["vector"].to_pylist()] == [1, None, 1, None, None]
    squashed = embedded([image] * 5, model_named("null", "squash"), boxes)
    assert squashed["error_class"].to_pylist()[:3] == [None, None, None]


def test_all_regions_of_an_image_take_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    image, seen, real = with_square(300, 300, (0, 0, 10, 10)), list[int](), MeanColours.embed_regions

    def counted(self: MeanColours, pixels_NHWC: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
        seen.append(len(pixels_NHWC))
        return real(self, pixels_NHWC, boxes)

    monkeypatch.setattr(MeanColours, "embed_regions", counted)
    table = embedded([image, b"", image], model_named("null"), cells=5)
    assert [regions and len(regions) for regions in table["vector"].to_pylist()] == [25, None, 25]
    assert seen == [2]


def test_an_image_without_boxes_is_its_own_region_or_fails() -> None:
    image, model = with_square(300, 200, (0, 0, 150, 100)), model_named("null")
    boxes = [[[60, 0, 120, 20]], [], None]
    whole = embedded([image] * 3, model, boxes)
    kinds = [[region["kind"] for region in regions] for regions in whole["regions"].to_pylist()]
    assert kinds == [["patch"], ["whole"], ["whole"]]
    assert box_of(whole["regions"].to_pylist()[1][0]) == [0, 0, 300, 200]
    assert whole["vector"].to_pylist()[1] == embedded([image], model, cells=1)["vector"].to_pylist()[0]
    failed = embedded([image] * 3, model, boxes, without_regions="fail")
    assert failed["error_class"].to_pylist() == [None, "no_regions", "no_regions"]


def test_the_record_says_which_regions() -> None:
    model = model_named("null")
    configs = [
        PatchEmbedConfig(embed=EmbedPixelsConfig(model=model), regions=PatchesOptions(kind="patches", cells=cells))
        for cells in (2, 3)
    ]
    records = [config.space("vector") for config in configs]
    assert records[0]["pooling"] == "avg"
    assert [record["regions"]["cells"] for record in records] == [2, 3]
    assert configs[0].space("vector_other") == {}


def test_pooling_is_the_mean() -> None:
    spec = parse_model_name("timm:test_vit/random-0")
    assert patch_spec(spec).pooling == "avg"
    with pytest.raises(ModelError, match=r"pooling 'cls' is of the whole image; leave model\.pooling out"):
        patch_spec(spec.model_copy(update={"pooling": "cls"}))


def test_models_that_see_other_parts_of_an_image_share_no_cells() -> None:
    cells, boxes = PatchesOptions(kind="patches", cells=2), PatchesOptions(kind="patches", column="boxes")
    squash = {size: Preprocess.square_pixels(size, "squash") for size in (64, 224)}
    crop = Preprocess.square_pixels(64, "shortest")
    check_same_cells(cells, {"vector_a": squash[64], "vector_b": squash[224]})
    check_same_cells(cells, {"vector_a": crop, "vector_b": crop.model_copy(update={"mean": (0.5, 0.5, 0.5)})})
    check_same_cells(boxes, {"vector_a": crop, "vector_b": squash[64]})
    with pytest.raises(UserError, match=r"columns vector_a and vector_b are of models that crop or pad"):
        check_same_cells(cells, {"vector_a": crop, "vector_b": squash[64]})


@pytest.mark.parametrize("place", ["embed.before", "embed.after"])
def test_it_comes_to_its_failpoints(place: str) -> None:
    images = [with_square(64, 64, (0, 0, 32, 32))]
    with failing_at(place), pytest.raises(OSError, match=f"failpoint {place}"):
        embedded(images, model_named("null"), cells=2)
