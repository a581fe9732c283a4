"""A PNG through Pillow, but for what its reader gets wrong: side chunks that fail an image, and colour keys."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, PngImagePlugin

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.colour.bands import rows_of
from operators.pixels.colour.profile import CODED
from operators.pixels.png.chunks import without_side_chunks
from operators.pixels.png.colours import coded_colours, is_coded

_KEY = "colour_key"
_DEPTH, _COLOUR_TYPE = 24, 25
"""Where IHDR, which is always the first chunk, has the bits of a sample, and what samples are."""
_CHANNELS = {0: 1, 2: 3}
"""Colour type -> samples of a pixel, of those types whose tRNS is a key."""


def open_png(data: bytes, max_icc_bytes: int) -> PngImagePlugin.PngImageFile:
    """The image with its header read and no pixel decoded yet; its profile, where it has one of at most
    `max_icc_bytes` and no cICP, which goes before it, is in `info`, as are colours said in numbers.

    Raises `BadImage` and whatever Pillow raises.
    """
    if data[12:16] == b"CgBI":
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT,
            "png in Apple's own variant for apps (CgBI), which is not read; convert it, for example to PNG proper",
        )
    file = without_side_chunks(data, max_icc_bytes)
    image = PngImagePlugin.PngImageFile(io.BytesIO(file.data))
    if image.mode == "P" and image.palette is None:
        raise BadImage(ErrorClass.CORRUPT, "png: a palette is used, and there is none before the pixels")
    image.info[CODED] = coded_colours(file.colours)
    if file.icc is not None and not is_coded(file.colours):
        image.info["icc_profile"] = file.icc
    channels = _CHANNELS.get(data[_COLOUR_TYPE])
    if channels is not None and len(file.key) >= 2 * channels:
        image.info[_KEY] = np.frombuffer(file.key, ">u2", channels).astype(int) & (1 << data[_DEPTH]) - 1
    return image


def colour_key(image: Image.Image, data: bytes) -> Callable[[int, int], Image.Image] | None:
    """Of a decoded PNG of `open_png` that has a colour key: what gives its rows, from one up to another, as "LA" or
    "RGBA". None of others.

    The key is compared with samples of the file's own depth, its higher bits left out (PNG, 11.3.1.1). Pillow compares
    it with 8-bit samples: those of 2 and 4 bits widened, of 16-bit colour the high byte.
    """
    key = image.info.pop(_KEY, None)
    if key is None:
        return None
    depth = data[_DEPTH]
    low = _low_bytes(data) if depth == 16 and image.mode != "I;16" else None
    if depth < 16:
        key = key * 255 // ((1 << depth) - 1)

    def rows(top: int, bottom: int) -> Image.Image:
        band = rows_of(image, top, bottom)
        shown = band.convert("L") if band.mode == "1" else band
        samples = np.asarray(shown)
        if band.mode == "I;16":
            shown = Image.fromarray((samples >> 8).astype(np.uint8))
        if low is not None:
            samples = samples.astype(np.uint16) << 8 | np.asarray(rows_of(low, top, bottom))
        hidden = (samples.reshape(*samples.shape[:2], -1) == key).all(axis=2)
        shown.putalpha(Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
        return shown

    return rows


def _low_bytes(data: bytes) -> Image.Image:
    """The low bytes of colour of 16 bits, of which Pillow keeps the high ones: read as if the low byte came second."""
    low = open_png(data, 0)
    low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
    low.load()
    return low
