"""Finds the library's code for a detector's ModelSpec."""

from importlib import import_module
from types import ModuleType
from typing import NamedTuple, Protocol

import numpy as np

from operators.models.detectors.spec import DetectorDescription
from operators.models.families import DETECTORS
from operators.models.spec import ModelSpec
from operators.regions.options import DetectorOptions
from operators.storage.stores import NO_OPTIONS, StorageOptions


class Detections(NamedTuple):
    """The objects found in one image, best score first."""

    boxes: np.ndarray
    """(K, 4) float32: x0, y0, x1, y1 in pixels of the image as it was given."""
    classes: np.ndarray
    """(K,) int64: the numbers of their classes."""
    scores: np.ndarray
    """(K,) float32 in 0..1."""


class Detector(Protocol):
    def detect(self, images_NHWC: np.ndarray) -> list[Detections]:
        """From (N, H, W, 3) uint8 RGB of any one size to what is found in each image over the threshold."""


def _family(spec: ModelSpec) -> ModuleType:
    return import_module(DETECTORS[spec.family])


def describe_detector(spec: ModelSpec, storage: StorageOptions = NO_OPTIONS) -> DetectorDescription:
    """Resolve the weights, hash them, and ask the library for classes and preprocessing. Raises `ModelError`."""
    description: DetectorDescription = _family(spec).describe(spec, storage)
    return description


def load_detector(
    description: DetectorDescription,
    options: DetectorOptions,
    device: str = "cpu",
    storage: StorageOptions = NO_OPTIONS,
) -> Detector:
    """The detector in float32, its weights checked against the description's sha256; from `options` it takes
    `threshold` and `nms_iou`. Raises `ModelError`."""
    detector: Detector = _family(description.spec).load_detector(description, options, device, storage)
    return detector
