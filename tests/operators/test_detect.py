"""What a detector finds as regions of the upright image, from decode to the vectors of what was cut out."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from made.square_detector import write_square_detector
from operators.base.columns import IMAGE_BYTES, SOURCE_SCHEMA
from operators.base.operator import OperatorConfig
from operators.crop import CropConfig
from operators.decode import DecodeConfig
from operators.detect import CANVAS, DetectConfig, canvas
from operators.embed import EmbedPixelsConfig
from operators.models.detectors.load import describe_detector
from operators.models.detectors.spec import DetectorDescription, parse_detector_name
from operators.models.load import describe
from operators.models.spec import ModelError, parse_model_name
from operators.regions.options import DetectorOptions

RED, GREY = (220, 20, 30), (128, 128, 128)
TURNS = {1: lambda p: p, 3: lambda p: np.rot90(p, 2), 6: lambda p: np.rot90(p, 1), 8: lambda p: np.rot90(p, -1)}
"""From the upright image to the stored one, by EXIF orientation."""


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> DetectorDescription:
    folder = write_square_detector(tmp_path_factory.mktemp("squares"), tokens=2)
    return describe_detector(parse_detector_name(f"transformers:{folder}"))


def with_square(width: int, height: int, box: tuple[int, int, int, int] | None, orientation: int = 1) -> bytes:
    upright = np.full((height, width, 3), GREY, np.uint8)
    if box is not None:
        upright[box[1] : box[3], box[0] : box[2]] = RED
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(TURNS[orientation](upright))).save(out, "PNG", exif=exif)
    return out.getvalue()


def run(images: list[bytes], model: DetectorDescription, *, embed: bool = False, **given: Any) -> pa.Table:
    options = DetectorOptions(kind="detector", **{"model": "any", "nms_iou": 0.5, "image_size": 256, **given})
    columns: dict[str, Any] = {f.name: pa.nulls(len(images), f.type) for f in SOURCE_SCHEMA}
    columns |= {"shard": [0] * len(images), "row": list(range(len(images)))}
    batch = pa.Table.from_pydict(columns, schema=SOURCE_SCHEMA)
    batch = batch.append_column(IMAGE_BYTES, pa.array(images, IMAGE_BYTES.type))
    chain: list[OperatorConfig] = [
        DecodeConfig(targets={CANVAS: canvas(options)}, isolate=False, keep_bytes=True),
        DetectConfig(model=model, options=options, num_threads=1, batch_size=2),
    ]
    if embed:
        null = describe(parse_model_name("null"))
        chain.append(CropConfig(targets={"pixels": null.preprocess}, regions=options, isolate=False))
        chain.append(EmbedPixelsConfig(model=null))
    for config in chain:
        batch = config.build()(batch)
    return batch


def boxes_of(regions: list[dict[str, Any]]) -> list[list[float]]:
    return [[region["box"][corner] for corner in ("x0", "y0", "x1", "y1")] for region in regions]


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(("width", "height"), [(512, 256), (240, 480), (60, 40)])
def test_a_square_is_found_where_it_is_in_the_upright_image(
    squares: DetectorDescription, width: int, height: int, orientation: int
) -> None:
    box = (width // 8, height // 4, width // 2, 7 * height // 8)
    table = run([with_square(width, height, box, orientation)], squares, embed=True)
    [region] = table["regions"].to_pylist()[0]
    # An enlarged edge is blurred: a patch of the detector's is a 32nd of a side.
    assert np.allclose(boxes_of([region]), [box], atol=0.01 if width > 60 else 1.9)
    assert (region["kind"], region["index"], region["label"]) == ("detection", 0, "square")
    assert region["score"] > 0.99
    [vector] = table["vector"].to_pylist()[0]
    red = np.tile(np.array(RED, np.float32) / 255, 64)
    cosine = red @ vector / np.linalg.norm(red) / np.linalg.norm(vector)
    assert cosine > (0.999 if width > 60 else 0.97)


def test_images_of_several_sizes_keep_their_places(squares: DetectorDescription) -> None:
    sizes = [(256, 256), (512, 256), (256, 256), (256, 512), (256, 256)]
    boxes = [(w // 8, h // 4, w // 2, (4 + n) * h // 8) for n, (w, h) in enumerate(sizes)]
    images = [with_square(w, h, box) for (w, h), box in zip(sizes, boxes, strict=True)]
    table = run([*images[:2], b"no image", *images[2:]], squares)
    assert table["error_class"].to_pylist() == [None, None, "unsupported_format", None, None, None]
    found = [boxes_of(regions)[0] for regions in table["regions"].to_pylist() if regions]
    assert np.allclose(found, boxes, atol=0.02)
    assert CANVAS not in table.column_names
    assert IMAGE_BYTES.name in table.column_names


def test_nothing_detected_is_the_whole_image_or_a_failure(squares: DetectorDescription) -> None:
    images = [with_square(128, 64, None), with_square(128, 64, (16, 16, 64, 32))]
    whole = run(images, squares)["regions"].to_pylist()
    assert [[region["kind"] for region in regions] for regions in whole] == [["whole"], ["detection"]]
    assert boxes_of(whole[0]) == [[0, 0, 128, 64]]
    assert whole[0][0]["score"] is None
    assert run(images, squares, without_regions="fail")["error_class"].to_pylist() == ["no_regions", None]
    assert run(images, squares, threshold=0.99999)["regions"].to_pylist()[1][0]["kind"] == "whole"


def test_how_many_are_taken_is_bounded(squares: DetectorDescription) -> None:
    """Two detection tokens find the same square twice, where no NMS makes one of it."""
    image = [with_square(128, 64, (16, 16, 64, 32))]
    assert len(run(image, squares, nms_iou=None)["regions"].to_pylist()[0]) == 2
    assert len(run(image, squares, nms_iou=None, largest=1)["regions"].to_pylist()[0]) == 1
    table = run(image, squares, nms_iou=None, max_regions=1)
    assert table["error_class"].to_pylist() == ["too_many_regions"]
    assert table["error_stage"].to_pylist() == ["detect"]


def test_the_largest_are_taken_and_kept_in_the_order_of_their_scores() -> None:
    name = "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn/random-0"
    model = describe_detector(parse_detector_name(name))
    noise, out = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8), io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    every = run([out.getvalue()], model, threshold=0.0, max_regions=1000)["regions"].to_pylist()[0]
    assert len(every) > 20
    assert (np.diff([region["score"] for region in every]) <= 0).all()
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes_of(every)]
    wanted = sorted(np.argsort(areas)[::-1][:5])
    five = run([out.getvalue()], model, threshold=0.0, largest=5)["regions"].to_pylist()[0]
    assert boxes_of(five) == [boxes_of(every)[n] for n in wanted]
    label = every[3]["label"]
    one = run([out.getvalue()], model, threshold=0.0, max_regions=1000, classes=(label,))["regions"].to_pylist()[0]
    assert boxes_of(one) == [box for box, each in zip(boxes_of(every), every, strict=True) if each["label"] == label]


def test_an_unknown_class_is_refused(squares: DetectorDescription) -> None:
    with pytest.raises(ModelError, match="has no class 'person'; it knows square"):
        run([], squares, classes=("person",))


@pytest.mark.parametrize("network", ["fasterrcnn_mobilenet_v3_large_320_fpn", "squares"])
def test_a_strip_of_an_image_costs_its_batch_nothing(squares: DetectorDescription, network: str) -> None:
    """Scaled to the detector's canvas a strip is one pixel high: torchvision scales that to none, and transformers
    takes an image of 1 x N x 3 for one with its channels first."""
    named = parse_detector_name(f"torchvision:{network}/random-0")
    model = squares if network == "squares" else describe_detector(named)
    strips = [with_square(3000, 1, None), with_square(1, 3000, None), with_square(1200, 1, (300, 0, 600, 1))]
    table = run([with_square(64, 64, (16, 16, 32, 32)), *strips], model, image_size=256 if model is squares else 800)
    assert table["error_class"].to_pylist() == [None] * 4
    sizes = [(64, 64), (3000, 1), (1, 3000), (1200, 1)]
    for (width, height), regions in zip(sizes, table["regions"].to_pylist(), strict=True):
        for x0, y0, x1, y1 in boxes_of(regions):
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
