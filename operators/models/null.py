"""The null model: mean colours over an 8 x 8 grid, in NumPy. It measures, and tests, everything around a model."""

import hashlib

import numpy as np

from operators.models.load import ImageEmbedder, Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.preprocess import Preprocess
from operators.storage import StorageOptions

GRID = 8
SIZE = 224


PREPROCESS = Preprocess.square_pixels(SIZE, "shortest")


def describe(spec: ModelSpec, storage: StorageOptions) -> ModelDescription:
    _check_options(spec)
    return ModelDescription(
        spec=spec,
        dim=GRID * GRID * 3,
        preprocess=spec.preprocess.apply(PREPROCESS),
        network=spec.architecture,
        weights_sha256=hashlib.sha256(b"").hexdigest(),
        text=False,
        num_parameters=0,
    )


def _check_options(spec: ModelSpec) -> None:
    """Raises `ModelError` for what would change nothing, and yet be recorded as if it had."""
    own = spec.preprocess
    without_effect = {
        "pooling": spec.pooling != "default",
        "layer": spec.layer is not None,
        "preprocess.image_size": own.input_size not in (None, (SIZE, SIZE)),
        "preprocess.mean": own.mean is not None,
        "preprocess.std": own.std is not None,
    }
    given = [f"model.{name}" for name, is_given in without_effect.items() if is_given]
    if given:
        raise ModelError(
            f"model {spec.name!r}: takes the means of {SIZE} x {SIZE} pixels as they are; leave {', '.join(given)} out"
        )


class MeanColours:
    def embed(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """(N, 224, 224, 3) uint8 to (N, 192) float32 in 0..1: cell rows, cell columns, RGB."""
        cell = SIZE // GRID
        rows = pixels_NHWC.reshape(len(pixels_NHWC), GRID, cell, SIZE * 3).sum(2, dtype=np.uint16)
        cells = rows.reshape(len(pixels_NHWC), GRID, GRID, cell, 3).sum(3, dtype=np.uint32)
        means: np.ndarray = (cells / np.float32(cell * cell * 255)).astype(np.float32)
        return means.reshape(len(pixels_NHWC), -1)


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    return MeanColours()
