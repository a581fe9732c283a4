"""Small pictures that lie in a page itself."""

import base64
import io

import numpy as np

THUMBNAIL = 160
"""Pixels of the longer side."""


def thumbnail(pixels_HWC: np.ndarray, longest: int = THUMBNAIL) -> str:
    """A `data:` URI of a JPEG from (H, W, 3) uint8 RGB, at most `longest` pixels a side: about 5 KB."""
    return data_uri(thumbnail_jpeg(pixels_HWC, longest), "image/jpeg")


def thumbnail_jpeg(pixels_HWC: np.ndarray, longest: int = THUMBNAIL) -> bytes:
    """The JPEG itself."""
    from PIL import Image

    image = Image.fromarray(pixels_HWC)
    image.thumbnail((longest, longest))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


def data_uri(data: bytes, media_type: str) -> str:
    """The bytes as a `data:` URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
