"""Photographs that scikit-image carries, as files and as our decode operator's pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import skimage.data
from PIL import Image

from operators.base.arrays import pixels_to_numpy
from operators.base.columns import ERROR_FIELDS, IMAGE_BYTES
from operators.decode import DecodeConfig
from operators.pixels.preprocess import Preprocess

NAMES = ("chelsea", "rocket", "coffee", "astronaut")


def write_photographs(folder: Path) -> list[Path]:
    paths = [folder / f"{name}.png" for name in NAMES]
    for name, path in zip(NAMES, paths, strict=True):
        Image.fromarray(getattr(skimage.data, name)()).save(path)
    return paths


def decoded(paths: Sequence[Path], preprocess: Preprocess) -> np.ndarray:
    """(N, H, W, 3) uint8, as `decode` gives them to `embed`."""
    batch = pa.table({"image_bytes": pa.array([p.read_bytes() for p in paths], IMAGE_BYTES.type)})
    for field in ERROR_FIELDS:
        batch = batch.append_column(field, pa.nulls(len(paths), field.type))
    out = DecodeConfig(targets={"pixels": preprocess}, isolate=False).build()(batch)
    return pixels_to_numpy(out["pixels"], preprocess.height, preprocess.width)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) of two (N, D)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    result: np.ndarray = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return result
