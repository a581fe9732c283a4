"""Conversions band by band: of a large picture there is the decoder's own copy and the RGB pixels, and none between."""

from collections.abc import Callable

import numpy as np
from PIL import Image

BAND_PIXELS = 1 << 20
"""Pixels of a band. What is converted is pixel by pixel the same, whatever the bands."""


def filled(width: int, height: int, band: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """(height, width, 3) uint8, C-contiguous, of the rows that `band(top, bottom)` gives."""
    rows = max(1, BAND_PIXELS // width)
    if height <= rows:
        return np.ascontiguousarray(band(0, height))
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = band(top, bottom)
    return pixels


def rows_of(image: Image.Image, top: int, bottom: int) -> Image.Image:
    """Rows of an image, with its palette and its `info`; the image itself where they are all of them."""
    whole = (0, 0, image.width, image.height)
    rows = (0, top, image.width, bottom)
    return image if rows == whole else image.crop(rows)
