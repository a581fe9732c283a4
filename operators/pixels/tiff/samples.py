"""The samples of a TIFF page as they are stored, through tifffile and imagecodecs (`pip install 'pixlake[tiff]'`)."""

import importlib
import io
import logging
from types import ModuleType
from typing import Any

import numpy as np

from operators.base.errors import NEEDS_EXTRA, BadImage, ErrorClass
from operators.pixels.tiff.directory import Page

_LARGE_TILE = 1 << 24
"""Pixels that one tile may have beyond those of its image: memory is taken for it whole."""


def stored_samples(data: bytes, page: Page) -> np.ndarray:
    """(height, width, samples) uint8 or uint16 of `page`, the first of the file, as tifffile gives them.

    Bits, byte order, planes, strips and tiles are undone, and JPEG's YCbCr is RGB already; other colours are as stored.
    """
    if page.end > len(data):
        raise BadImage(ErrorClass.TRUNCATED, f"tiff: {len(data)} bytes, and the picture ends at byte {page.end}")
    with library().TiffFile(io.BytesIO(data)) as file:
        found = file.pages[0]
        _check(found, page)
        planes, _, height, width, samples = found.shaped
        stored = found.asarray(squeeze=False, maxworkers=1).reshape(planes, height, width, samples)
    stored = stored.view(np.uint8) if stored.dtype == bool else stored
    return np.moveaxis(stored[..., 0], 0, -1) if page.is_planar else stored[0]


def _check(found: Any, page: Page) -> None:
    """Whether tifffile will take the memory that the tags were checked for, and no strip or tile is missing."""
    says = (found.imagewidth, found.imagelength, found.samplesperpixel, found.bitspersample)
    chunks = int(np.prod(found.chunked))
    if says != (*page.size, page.samples, page.bits[0]):
        raise BadImage(
            ErrorClass.CORRUPT, f"tiff: {says} of width, height, samples and bits, and {page.size} in its tags"
        )
    if found.is_tiled and found.tilewidth * found.tilelength > max(_LARGE_TILE, page.size[0] * page.size[1]):
        raise BadImage(ErrorClass.CORRUPT, f"tiff: tiles of {found.tilewidth} x {found.tilelength} pixels")
    if len(found.dataoffsets) != chunks:
        raise BadImage(ErrorClass.CORRUPT, f"tiff: {len(found.dataoffsets)} strips or tiles of {chunks}")


def library() -> ModuleType:
    """tifffile, quiet. Raises `BadImage` where it or its codecs are not installed."""
    try:
        importlib.import_module("imagecodecs")
        tifffile = importlib.import_module("tifffile")
    except ModuleNotFoundError as error:
        raise BadImage(ErrorClass.UNSUPPORTED_FORMAT, f"this kind of TIFF {NEEDS_EXTRA.format('tiff')}") from error
    logging.getLogger("tifffile").disabled = True  # what it says of a file, it raises too
    return tifffile
