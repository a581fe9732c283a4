"""From a ModelSpec to its family's code."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Protocol

import numpy as np

from operators.models.families import FAMILIES
from operators.models.spec import ModelDescription, ModelError, ModelSpec, Precision
from operators.storage import NO_OPTIONS, StorageOptions


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How a model is run on a worker. Of these only the precision can change a vector."""

    precision: Precision = "float32"
    device: str = "cpu"
    batch_size: int = 32
    """Images per forward pass."""
    compile: bool = False
    storage: StorageOptions = NO_OPTIONS
    """For a weights URI."""


class ImageEmbedder(Protocol):
    def embed(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 RGB at the model's size to (N, dim) float32. Safe to call from several threads."""


class TextEmbedder(Protocol):
    def embed(self, texts: list[str]) -> np.ndarray:
        """N texts to (N, dim) float32, in the space of the model's images."""


def _family(spec: ModelSpec) -> ModuleType:
    return import_module(FAMILIES[spec.family])


def describe(spec: ModelSpec, storage: StorageOptions = NO_OPTIONS) -> ModelDescription:
    """Resolve the weights, hash them, and read dim and preprocessing off the library. Raises `ModelError`."""
    description: ModelDescription = _family(spec).describe(spec, storage)
    return description


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    """The image tower alone, its weights checked against the description's sha256. Raises `ModelError`."""
    embedder: ImageEmbedder = _family(description.spec).load_image_embedder(description, runtime)
    return embedder


def load_text_embedder(description: ModelDescription, storage: StorageOptions = NO_OPTIONS) -> TextEmbedder:
    """The text tower, in float32 on the CPU. Raises `ModelError` where the model has none."""
    if not description.text:
        raise ModelError(_why_no_words(description.spec))
    embedder: TextEmbedder = _family(description.spec).load_text_embedder(description, storage)
    return embedder


def _why_no_words(spec: ModelSpec) -> str:
    start = f"model {spec.name!r} has no text tower"
    way_out = "embed the images with an open_clip model"
    if spec.family == "open_clip" and (spec.pooling != "default" or spec.layer is not None):
        own = f"pooling {spec.pooling!r}" + ("" if spec.layer is None else f" of layer {spec.layer}")
        start = f"model {spec.name!r} with {own} gives vectors outside the space of its text tower"
        way_out = "embed the images with the default pooling and layer"
    return f"{start}: search this table by --image or --id, or {way_out} to search by words"
