"""Loads the code of a ModelSpec's family, on a device."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from operators.models.backends.choose import backend_of
from operators.models.backends.load import load_converted
from operators.models.families import FAMILIES
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.storage.stores import NO_OPTIONS, StorageOptions


class ImageEmbedder(Protocol):
    backend: str
    """What runs it."""
    batch_size: int
    """Images that it takes at a time."""

    def embed(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """From (N, H, W, 3) uint8 RGB at the model's size to (N, dim) float32. Safe to call from several threads."""


class RegionEmbedder(ImageEmbedder, Protocol):
    def embed_regions(self, pixels_NHWC: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """From images as in `embed`, each with (K, 4) boxes x0, y0, x1, y1 in fractions of its width and height, to
        (sum of K, dim) float32: what pooling `avg` would give for each part, from one forward pass an image."""


class TextEmbedder(Protocol):
    def embed(self, texts: list[str]) -> np.ndarray:
        """From N texts to (N, dim) float32, in the space of the model's images."""


def _family(spec: ModelSpec) -> ModuleType:
    return import_module(FAMILIES[spec.family])


def describe(spec: ModelSpec, storage: StorageOptions = NO_OPTIONS) -> ModelDescription:
    """Resolve the weights, hash them, and ask the library for dim and preprocessing. Raises `ModelError`."""
    description: ModelDescription = _family(spec).describe(spec, storage)
    return description


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    """The image tower alone, of the very weights that the description names. Raises `ModelError`.

    On OpenVINO it is the network that this node has converted and keeps, or converts now; neither torch nor the model's
    library is imported where it has.
    """
    backend = backend_of(
        description,
        runtime.backend,
        precision=runtime.precision,
        device=runtime.device,
        compile=runtime.compile,
    )
    if backend == "openvino":
        converted = load_converted(
            description,
            runtime.precision,
            lambda: _family(description.spec).load_image_embedder(description, replace(runtime, precision="float32")),
            required=runtime.backend == "openvino",
            batch_size=runtime.images_per_pass,
            num_threads=runtime.num_threads,
            concurrency=runtime.concurrency,
        )
        if converted is not None:
            return converted
    embedder: ImageEmbedder = _family(description.spec).load_image_embedder(description, runtime)
    return embedder


def load_region_embedder(description: ModelDescription, runtime: Runtime) -> RegionEmbedder:
    """An embedder of regions, as `load_image_embedder`, for a model described with pooling `avg`. Raises `ModelError`
    for a model that gives no patches."""
    runtime = replace(runtime, backend="torch")
    embedder: Any = None if description.spec.pooling != "avg" else load_image_embedder(description, runtime)
    if not getattr(embedder, "takes_regions", False):
        raise ModelError(
            f"model {description.spec.name!r}: gives no patches to pool over regions; cut the regions out of the image "
            "(regions.kind grid, tiles, boxes or detector), or use a model of timm or open_clip, or efficientnet-lite0"
        )
    found: RegionEmbedder = embedder
    return found


def check_regions(description: ModelDescription, runtime: Runtime) -> None:
    """Raises `ModelError` where the model gives no patches, or not in known places. Runs it on the CPU."""
    runtime = replace(runtime, precision="float32", device="cpu", compile=False)
    embedder: Any = load_region_embedder(description, runtime)
    if description.spec.family != "null":
        embedder.tower.check_regions(description.preprocess.height, description.preprocess.width)


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


def device_name(device: str) -> str | None:
    """`cpu`, or the name of the GPU that `cuda` means here; None where there is none."""
    if device == "cpu":
        return "cpu"
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
