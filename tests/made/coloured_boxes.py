"""Photograph-like images with one coloured box at a known place: which region shows it is known in closed form."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]

WIDTH, HEIGHT = 320, 240
"""Of the upright image."""
RED, GREEN, BLUE = (230, 20, 20), (20, 230, 20), (20, 20, 230)
TURNS = {
    1: None,
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> how an upright image is turned to be stored under it."""


def upright(box: Box, colour: tuple[int, int, int], seed: int) -> Image.Image:
    """Grey noise, and in the box one colour; x1 and y1 are exclusive."""
    grey = np.random.default_rng(seed).integers(90, 160, (HEIGHT, WIDTH, 1), np.uint8)
    pixels = np.repeat(grey, 3, axis=2)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = colour
    return Image.fromarray(pixels)


def save(image: Image.Image, path: Path, orientation: int = 1) -> str:
    """As a camera held that way stores it: a reader that minds EXIF sees the upright image."""
    turn = TURNS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = image if turn is None else image.transpose(turn)
    stored.save(path, quality=98, subsampling=0, exif=exif)
    return str(path)


def box_of(region: Mapping[str, object]) -> tuple[float, ...]:
    box = region["box"]
    assert isinstance(box, Mapping)
    return tuple(box[name] for name in ("x0", "y0", "x1", "y1"))
