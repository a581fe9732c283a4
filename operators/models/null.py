"""The null model: mean colours over an 8 x 8 grid, in NumPy. It serves to measure and test everything around a model.

Pooled with `avg` it gives the mean colour of the image or of its regions: cells are its patches, of three channels.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from operators.models.load import ImageEmbedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.pixels.preprocess import Preprocess
from operators.storage.stores import StorageOptions

GRID = 8
SIZE = 224


PREPROCESS = Preprocess.square_pixels(SIZE, "shortest")


def describe(spec: ModelSpec, storage: StorageOptions) -> ModelDescription:
    _check_options(spec)
    return ModelDescription(
        spec=spec,
        dim=3 if spec.pooling == "avg" else GRID * GRID * 3,
        preprocess=spec.preprocess.apply(PREPROCESS),
        network=spec.architecture,
        weights_sha256=hashlib.sha256(b"").hexdigest(),
        text=False,
        num_parameters=0,
    )


def _check_options(spec: ModelSpec) -> None:
    """Raises `ModelError` for options that would change nothing, and yet be recorded as if they had."""
    own = spec.preprocess
    without_effect = {
        "pooling": spec.pooling not in ("default", "avg"),
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
    backend = "numpy"
    batch_size = 1
    takes_regions = True

    def __init__(self, *, pooled: bool = False) -> None:
        self.pooled = pooled

    def embed(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """From (N, 224, 224, 3) uint8 to (N, 192) float32 in 0..1: cell rows, cell columns, RGB. Pooled: (N, 3)."""
        cells = self._cells(pixels_NHWC)
        return cells.mean((1, 2)) if self.pooled else cells.reshape(len(cells), -1)

    def embed_regions(self, pixels_NHWC: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """(sum of K, 3) as from `TorchEmbedder.embed_regions`, but each cell counts by how much of it lies in the
        box."""
        images = zip(self._cells(pixels_NHWC), boxes, strict=True)
        return np.stack([_mean_in(cells, box) for cells, of_image in images for box in of_image])

    def _cells(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        cell = SIZE // GRID
        rows = pixels_NHWC.reshape(len(pixels_NHWC), GRID, cell, SIZE * 3).sum(2, dtype=np.uint16)
        cells = rows.reshape(len(pixels_NHWC), GRID, GRID, cell, 3).sum(3, dtype=np.uint32)
        means: np.ndarray = (cells / np.float32(cell * cell * 255)).astype(np.float32)
        return means


def _mean_in(cells_HWC: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(3,) float32: the mean of the grid within a box of fractions, x0, y0, x1, y1."""
    edges = np.arange(GRID + 1) / GRID
    across, down = (
        np.clip(np.minimum(edges[1:], last) - np.maximum(edges[:-1], first), 0, None)
        for first, last in ((box[0], box[2]), (box[1], box[3]))
    )
    mean: np.ndarray = np.einsum("y,x,yxc->c", down, across, cells_HWC) / (down.sum() * across.sum())
    return mean.astype(np.float32)


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    return MeanColours(pooled=description.spec.pooling == "avg")
