"""Pixels brought upright: the turns of EXIF, of whole images and of such as were decoded smaller than they are."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from operators.pixels.resize_plan import Extent

Turn = Callable[[np.ndarray], np.ndarray]
TURNS: dict[int, Turn] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}
"""EXIF orientation -> the turn to an upright image (height, width, 3), as a view."""
LYING = range(5, 9)
"""EXIF orientations of images that are stored with height and width exchanged."""
UNDO = {**{n: n for n in TURNS}, 6: 8, 8: 6}
"""EXIF orientation -> that of which the turn takes its own back."""


class Upright(NamedTuple):
    """Pixels (H, W, 3), (height, width) of the image, and where it lies in them if they are fewer."""

    pixels: np.ndarray
    size: tuple[int, int]
    extent: Extent | None = None


def whole(pixels: np.ndarray) -> Upright:
    return Upright(pixels, (pixels.shape[0], pixels.shape[1]))


def turned(stored: np.ndarray, width: int, height: int, scale: float, turn: Turn | None) -> Upright:
    """The pixels of an image that is stored as `width` x `height`, decoded at `scale` of it, after the `turn`."""
    pixels = stored if turn is None else np.ascontiguousarray(turn(stored))
    if scale == 1:
        return whole(pixels)
    # Where the first of six pixels comes to: what lies beyond the image's last row or column may then lie before it.
    six = np.arange(6).reshape(2, 3, 1)
    where = (six if turn is None else turn(six))[..., 0]
    down, right = np.argwhere(where == 0)[0].tolist()
    height, width = (height, width) if where.shape == (2, 3) else (width, height)
    top = pixels.shape[0] - height * scale if down else 0.0
    left = pixels.shape[1] - width * scale if right else 0.0
    return Upright(pixels, (height, width), Extent(top, left, height * scale, width * scale))
