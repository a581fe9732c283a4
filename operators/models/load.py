"""From a ModelSpec to its family's code. Adding a family is one file beside this one and one line here."""

from importlib import import_module
from types import ModuleType
from typing import Protocol

import numpy as np

from operators.models.spec import ModelDescription, ModelError, ModelSpec, Precision

FAMILIES = {
    "null": "operators.models.null",
    "efficientnet-lite": "operators.models.efficientnet_lite",
    "open_clip": "operators.models.open_clip",
    "timm": "operators.models.timm",
}


class ImageEmbedder(Protocol):
    def embed(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 RGB at the model's size to (N, dim) float32. Safe to call from several threads."""


class TextEmbedder(Protocol):
    def embed(self, texts: list[str]) -> np.ndarray:
        """N texts to (N, dim) float32, in the space of the model's images."""


def _family(spec: ModelSpec) -> ModuleType:
    return import_module(FAMILIES[spec.family])


def describe(spec: ModelSpec) -> ModelDescription:
    """Resolve the weights, hash them, and read dim and preprocessing off the library. Raises `ModelError`."""
    description: ModelDescription = _family(spec).describe(spec)
    return description


def load_image_embedder(
    description: ModelDescription, *, precision: Precision, device: str, batch_size: int, compile: bool
) -> ImageEmbedder:
    """The image tower alone, its weights checked against the description's sha256. Raises `ModelError`."""
    embedder: ImageEmbedder = _family(description.spec).load_image_embedder(
        description, precision=precision, device=device, batch_size=batch_size, compile=compile
    )
    return embedder


def load_text_embedder(description: ModelDescription) -> TextEmbedder:
    """The text tower, in float32 on the CPU. Raises `ModelError` where the model has none."""
    if not description.text:
        raise ModelError(
            f"model {description.spec.name!r} has no text tower: search this table by --image or --id, "
            "or embed the images with an open_clip model to search by words"
        )
    embedder: TextEmbedder = _family(description.spec).load_text_embedder(description)
    return embedder
