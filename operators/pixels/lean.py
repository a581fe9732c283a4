"""WebP and AVIF with less memory than by Pillow alone.

Its images hold on to their decoders: libwebp's for animations has two canvases of 4 bytes a pixel, libavif's its
planes. Here they are let go of before Pillow makes its own copy of the pixels, and large WebPs do without.
"""

import importlib

import numpy as np
from PIL.AvifImagePlugin import AvifImageFile
from PIL.WebPImagePlugin import WebPImageFile

_LARGE_PIXELS = 8 << 20


class LeanWebP(WebPImageFile):
    """Its first frame alone can be loaded."""

    def load_prepare(self) -> None:
        self._decoder = None
        super().load_prepare()


class LeanAvif(AvifImageFile):
    """Its first frame alone can be loaded."""

    def load_prepare(self) -> None:
        self._decoder = None
        super().load_prepare()


def large_webp(image: LeanWebP, data: bytes) -> np.ndarray | None:
    """(height, width, 3 or 4) uint8 of a large still WebP, the same as Pillow has them, by libwebp's plain decoder,
    where imagecodecs is installed. None for all others, and for what it does not decode."""
    if image.width * image.height < _LARGE_PIXELS or image.is_animated:
        return None
    try:
        decode = importlib.import_module("imagecodecs").webp_decode
        samples: np.ndarray = decode(data)
    except (ImportError, RuntimeError, ValueError):
        return None
    return samples if samples.shape == (image.height, image.width, len(image.mode)) else None
