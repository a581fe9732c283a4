"""Where the first frame of a file lies on its canvas: what it does not paint is transparent."""

import numpy as np
from PIL import ImageFile

_RIFF_HEADER, _CHUNK_HEADER = 12, 8


def first_frame(name: str, image: ImageFile.ImageFile, data: bytes) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of the first frame of a GIF or an animated WebP that has just been opened; None of all
    others, whose first frame is the canvas."""
    if name == "gif" and image.tile:
        return image.tile[0].extents
    return _webp_frame(data) if name == "webp" else None


def whiten_outside(pixels: np.ndarray, frame: tuple[int, int, int, int]) -> np.ndarray:
    """`pixels` (height, width, 3) with white outside `frame`: the same array where it can be written to."""
    left, top, right, bottom = frame
    pixels = pixels if pixels.flags.writeable else pixels.copy()
    for rows, columns in (
        (slice(0, top), slice(None)),
        (slice(bottom, None), slice(None)),
        (slice(None), slice(0, left)),
        (slice(None), slice(right, None)),
    ):
        pixels[rows, columns] = 255
    return pixels


def _webp_frame(data: bytes) -> tuple[int, int, int, int] | None:
    """Of the first ANMF chunk: left and top in units of two pixels, width and height less one, of three bytes each."""
    at = _RIFF_HEADER
    while at + _CHUNK_HEADER + 12 <= len(data):
        start = at + _CHUNK_HEADER
        if data[at : at + 4] == b"ANMF":
            left, top, width, height = (int.from_bytes(data[start + i : start + i + 3], "little") for i in (0, 3, 6, 9))
            return 2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1
        size = int.from_bytes(data[at + 4 : start], "little")
        at = start + size + size % 2
    return None
