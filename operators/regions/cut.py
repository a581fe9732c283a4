"""Cuts one region out of an image's pixels, at the size that a model reads."""

import numpy as np

from operators.pixels.preprocess import Preprocess, Resize
from operators.pixels.resize import fit
from operators.regions.boxes import WHOLE, pixel_box


def preprocess_cut(model: Preprocess, resize: Resize) -> Preprocess:
    """The preprocessing of a cut region to the model's height x width: nothing more is cut off or added but by
    `resize`."""
    return model.model_copy(update={"resize": resize, "resize_height": model.height, "resize_width": model.width})


def cut(pixels: np.ndarray, kind: str, box: np.ndarray, model: Preprocess, resize: Resize, out: np.ndarray) -> None:
    """Write the region of `pixels` (H, W, 3) uint8 in `box` (x0, y0, x1, y1) to `out` (model.height, model.width, 3).

    The whole image is preprocessed as the model itself wants it.
    """
    if kind == WHOLE:
        fit(pixels, model, out)
        return
    height, width = pixels.shape[:2]
    left, top, right, bottom = pixel_box(box.tolist(), width, height)
    fit(np.ascontiguousarray(pixels[top:bottom, left:right]), preprocess_cut(model, resize), out)
