"""An image for which a model has no memory, even alone, is one failure; all others get the vectors they get anyway.

The networks are the test's own: they raise what libraries raise, by how many images they are given and which.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from made.square_detector import write_square_detector
from operators.base.arrays import list_field, pixels_field, pixels_from_numpy, rebuild_lists
from operators.base.columns import HEIGHT, SOURCE_SCHEMA, WIDTH
from operators.detect import CANVAS, DetectConfig
from operators.embed import EmbedPixelsConfig
from operators.embed_patches import PatchEmbedConfig, patch_spec
from operators.models.detectors.load import Detections, describe_detector
from operators.models.detectors.spec import parse_detector_name
from operators.models.load import describe
from operators.models.null import MeanColours
from operators.models.runtime import Runtime
from operators.models.spec import parse_model_name
from operators.models.towers.embedder import TorchEmbedder
from operators.regions.options import DetectorOptions, PatchesOptions

ROWS = 10
VAST = 255
"""The colour of images that no memory suffices for."""


def no_memory(images: int) -> Exception:
    """As torch says it of a GPU, or of a CPU."""
    if images % 2:
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory: you tried"
    )


class Narrow(torch.nn.Module):
    """The mean colour; of at most three images at a time, and of none that is all white."""

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        if len(pixels_NCHW) > 3 or (pixels_NCHW.amin((1, 2, 3)) == 1).any():
            raise no_memory(len(pixels_NCHW))
        return pixels_NCHW.mean((2, 3))


def images(size: int, vast: Sequence[int], rows: int = ROWS) -> np.ndarray:
    pixels = np.random.default_rng(7).integers(0, 200, (rows, size, size, 3), np.uint8)
    pixels[list(vast)] = VAST
    return pixels


def batch(field: pa.Field, values: pa.Array) -> pa.Table:
    columns: dict[str, Any] = {f.name: pa.nulls(ROWS, f.type) for f in SOURCE_SCHEMA}
    columns |= {"shard": [0] * ROWS, "row": list(range(ROWS))}
    return pa.Table.from_pydict(columns, schema=SOURCE_SCHEMA).append_column(field, values)


def check(out: pa.Table, vast: Sequence[int], stage: str) -> None:
    assert out["error_class"].to_pylist() == ["model_memory" if row in vast else None for row in range(ROWS)]
    assert {each for each in out["error_stage"].to_pylist() if each} == {stage}
    assert "memory" in out["error"][vast[0]].as_py()


@pytest.mark.parametrize("vast", [(4,), (0, 1, 9)])
def test_an_image_that_does_not_fit_alone_fails_and_no_other(vast: tuple[int, ...]) -> None:
    model = describe(parse_model_name("null")).model_copy(update={"dim": 3})
    operator = EmbedPixelsConfig(model=model).build()
    operator.embedder = TorchEmbedder(Narrow(), model.preprocess, Runtime(batch_size=4))
    pixels = images(224, vast)
    column = pixels_from_numpy(pixels.reshape(ROWS, -1), np.ones(ROWS, bool))
    out = operator(batch(pixels_field(224, 224), column))
    check(out, vast, "embed")
    good = [row for row in range(ROWS) if row not in vast]
    vectors = np.array([out["vector"][row].as_py() for row in good])
    np.testing.assert_allclose(vectors, pixels[good].mean((1, 2)) / 255, atol=1e-5)


def test_of_an_image_one_region_that_does_not_fit_fails_it() -> None:
    model = describe(parse_model_name("null")).model_copy(update={"dim": 3})
    operator = EmbedPixelsConfig(model=model).build()
    operator.embedder = TorchEmbedder(Narrow(), model.preprocess, Runtime(batch_size=4))
    lengths = np.array([1, 2, 0, 3, 1, 1, 1, 1, 1, 1])
    pixels = images(224, (4,), lengths.sum())
    items = pixels_from_numpy(pixels.reshape(len(pixels), -1), np.ones(len(pixels), bool))
    out = operator(batch(list_field(pixels_field(224, 224)), rebuild_lists(items, lengths)))
    check(out, (3,), "embed")
    assert [None if each is None else len(each) for each in out["vector"].to_pylist()] == [1, 2, 0, None, *[1] * 6]
    np.testing.assert_allclose(out["vector"][9].as_py()[0], pixels[-1].mean((0, 1)) / 255, atol=1e-5)


class NarrowMeans(MeanColours):
    def embed_regions(self, pixels_NHWC: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
        if len(pixels_NHWC) > 3 or (pixels_NHWC.min((1, 2, 3)) == VAST).any():
            raise no_memory(len(pixels_NHWC))
        return super().embed_regions(pixels_NHWC, boxes)


def test_regions_of_patches_too() -> None:
    model = describe(patch_spec(parse_model_name("null")))
    pixels = images(224, (2, 3))
    table = batch(pixels_field(224, 224), pixels_from_numpy(pixels.reshape(ROWS, -1), np.ones(ROWS, bool)))
    for field in (WIDTH, HEIGHT):
        table = table.append_column(field, pa.array([224] * ROWS, field.type))
    options = PatchesOptions(kind="patches", cells=2)
    operator = PatchEmbedConfig(embed=EmbedPixelsConfig(model=model), regions=options).build()
    expected = operator(table)
    operator.embedder = NarrowMeans(pooled=True)
    out = operator(table)
    check(out, (2, 3), "embed")
    for row in set(range(ROWS)) - {2, 3}:
        assert out["vector"][row].equals(expected["vector"][row])


def test_a_detector_too(tmp_path: Path) -> None:
    model = describe_detector(parse_detector_name(f"transformers:{write_square_detector(tmp_path)}"))
    options = DetectorOptions(kind="detector", model="any", image_size=64)
    operator = DetectConfig(model=model, options=options, batch_size=4, num_threads=1).build()

    class NarrowDetector:
        def detect(self, images_NHWC: np.ndarray) -> list[Detections]:
            if len(images_NHWC) > 2 or (images_NHWC.min((1, 2, 3)) == VAST).any():
                raise no_memory(len(images_NHWC))
            box = np.array([[8, 8, 24, 24]], np.float32)
            return [Detections(box, np.zeros(1, np.int64), np.ones(1, np.float32)) for _ in images_NHWC]

    operator.detector = NarrowDetector()
    pixels = images(64, (5,))
    table = batch(pixels_field(64, 64, CANVAS), pixels_from_numpy(pixels.reshape(ROWS, -1), np.ones(ROWS, bool)))
    for field in (WIDTH, HEIGHT):
        table = table.append_column(field, pa.array([64] * ROWS, field.type))
    out = operator(table)
    check(out, (5,), "detect")
    assert [row and len(row) for row in out["regions"].to_pylist()] == [1] * 5 + [None] + [1] * 4
