"""From pixels of whole images to the regions that an object detector finds in them."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from operators.base.arrays import pixels_to_numpy
from operators.base.columns import HEIGHT, REGIONS, WIDTH
from operators.base.errors import ErrorClass, Failure
from operators.base.memory import in_parts
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import fail_rows, set_column
from operators.models.detectors.spec import DetectorDescription, class_numbers, label_of
from operators.pixels.preprocess import Preprocess
from operators.regions.boxes import BadRegions, Regions, finished
from operators.regions.columns import regions_column
from operators.regions.options import DetectorOptions
from operators.regions.view import boxes_of_view, without_padding
from operators.storage.redact import redact
from operators.storage.stores import NO_OPTIONS, StorageOptions

if TYPE_CHECKING:
    from operators.models.detectors.load import Detections

CANVAS = "pixels_of_detector"
"""Column of the pixels that the detector sees."""

_THINNEST = 1 / 64
"""The thinnest shape in which an image is shown to a detector: the shorter side as a fraction of the longer."""


def canvas(options: DetectorOptions) -> Preprocess:
    """The preprocessing for the detector's pixels: the whole image within a square, padded. Detectors normalise, and
    resize once more, by themselves."""
    return Preprocess.square_pixels(options.image_size, "longest")


class DetectConfig(OperatorConfig):
    """From `pixels_of_detector` (uint8, made as `canvas` says), `width` and `height` to `regions`, the best score
    first."""

    name: ClassVar[str] = "detect"

    model: DetectorDescription
    options: DetectorOptions
    device: Literal["cpu", "cuda"] = "cpu"
    batch_size: int = 8
    """Images per forward pass."""
    num_threads: int | None = None
    """CPU threads of the forward pass; None leaves torch's own choice."""
    storage: StorageOptions = NO_OPTIONS
    """Storage settings for a weights URI."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({CANVAS, WIDTH.name, HEIGHT.name})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema.remove(schema.get_field_index(CANVAS)).append(REGIONS)

    def space(self, column: str) -> dict[str, Any]:
        if column != REGIONS.name:
            return {}
        spec = self.model.spec
        return {
            "family": spec.family,
            "network": self.model.network,
            "weights_sha256": self.model.weights_sha256,
            "random_seed": spec.seed,
        }

    def build(self) -> "Detect":
        return Detect(self)


class Detect(Operator[DetectConfig]):
    """Holds the detector. Images of one size run together: padding some to the size of others would change their
    boxes."""

    def __init__(self, config: DetectConfig) -> None:
        super().__init__(config)
        # Here and not at the top: the driver declares the config and never needs torch.
        import torch

        from operators.models.detectors.load import load_detector

        if config.num_threads is not None:
            torch.set_num_threads(config.num_threads)
        self.classes = class_numbers(config.model, config.options.classes)
        self.detector = load_detector(config.model, config.options, config.device, config.storage)

    def transform(self, batch: pa.Table) -> pa.Table:
        options = self.config.options
        pixels = pixels_to_numpy(batch[CANVAS], options.image_size, options.image_size)
        sizes = list(zip(batch[HEIGHT.name].to_pylist(), batch[WIDTH.name].to_pylist(), strict=True))
        found: dict[int, Regions] = {}
        failures: dict[int, Failure] = {}
        shown = [_thickened(without_padding(pixels[row], *size, canvas(options))) for row, size in enumerate(sizes)]
        for rows in _alike(shown, self.config.batch_size):
            parts, failed = in_parts(partial(self._detect, shown, rows), len(rows))
            for at, words in failed.items():
                message = redact(f"the detector has no memory for this image alone: {words}")
                failures[rows[at]] = Failure(error_class=ErrorClass.MODEL_MEMORY, message=message)
            for row, each in (pair for part, detections in parts for pair in zip(rows[part], detections, strict=True)):
                try:
                    found[row] = self._regions(each, *sizes[row])
                except BadRegions as error:
                    failures[row] = Failure(error_class=error.error_class, message=str(error))
        regions = regions_column([found.get(row) for row in range(batch.num_rows)])
        return fail_rows(set_column(batch.drop_columns([CANVAS]), REGIONS, regions), failures, self.config.name)

    def _detect(self, shown: Sequence[np.ndarray], rows: Sequence[int], part: slice) -> "list[Detections]":
        return self.detector.detect(np.stack([shown[row] for row in rows[part]]))

    def _regions(self, found: "Detections", height: int, width: int) -> Regions:
        """The regions of an image of this size, from boxes found on the canvas. Raises `BadRegions`."""
        options, (boxes, classes, scores) = self.config.options, found
        boxes = boxes_of_view(boxes, height, width, canvas(options))
        good = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if self.classes is not None:
            good &= np.isin(classes, list(self.classes))
        kept = np.flatnonzero(good)
        if options.largest is not None:
            sides = boxes[kept, 2:] - boxes[kept, :2]
            kept = np.sort(kept[np.argsort(-sides.prod(1), kind="stable")[: options.largest]])
        return finished(
            options,
            "detection",
            boxes[kept],
            width,
            height,
            labels=[label_of(self.config.model, int(number)) for number in classes[kept]],
            scores=[float(score) for score in scores[kept]],
        )


def _thickened(image: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3), padded at the right or below to at least `_THINNEST` of the other side: resized once more, a
    strip of one pixel has no size for torchvision, and its batch fails. Boxes in the padding alone are clipped away."""
    height, width = image.shape[:2]
    sides = max(height, math.ceil(width * _THINNEST)), max(width, math.ceil(height * _THINNEST))
    return image if sides == (height, width) else np.pad(image, ((0, sides[0] - height), (0, sides[1] - width), (0, 0)))


def _alike(images: Sequence[np.ndarray], batch_size: int) -> Iterator[list[int]]:
    """Indices of images in batches of one size each."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        groups.setdefault(image.shape, []).append(place)
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]
