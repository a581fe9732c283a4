"""A PNG through Pillow, but for what its reader gets wrong: side chunks that fail an image, and colour keys."""

import io

import numpy as np
from PIL import Image, PngImagePlugin

from operators.base.errors import BadImage, ErrorClass
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


def with_colour_key(image: Image.Image, data: bytes) -> Image.Image:
    """A decoded PNG of `open_png`, as "LA" or "RGBA" where it has a colour key.

    The key is compared with samples of the file's own depth, its higher bits left out (PNG, 11.3.1.1). Pillow compares
    it with 8-bit samples: those of 2 and 4 bits widened, of 16-bit colour the high byte.
    """
    key = image.info.pop(_KEY, None)
    if key is None:
        return image
    depth = data[_DEPTH]
    if depth == 16:
        samples = _deep_samples(image, data)
        shown = Image.fromarray((samples >> 8).astype(np.uint8)) if samples.ndim == 2 else image
    else:
        shown = image.convert("L") if image.mode == "1" else image
        samples, key = np.asarray(shown), key * 255 // ((1 << depth) - 1)
    hidden = (samples.reshape(*samples.shape[:2], -1) == key).all(axis=2)
    shown.putalpha(Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
    return shown


def _deep_samples(image: Image.Image, data: bytes) -> np.ndarray:
    """16-bit samples, (height, width) or (height, width, 3). Of colour Pillow keeps the high bytes; read as if the low
    byte came second, it keeps the low ones."""
    if image.mode == "I;16":
        return np.asarray(image)
    low = open_png(data, 0)
    low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
    samples: np.ndarray = np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)
    return samples
