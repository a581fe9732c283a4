"""From samples as a TIFF stores them to an image of 8 bits, by what its tags say: TIFF 6.0, sections 4 to 6, 16, 18,
20, 21 and 23."""

import numpy as np
from PIL import Image

from operators.pixels.tiff.directory import CHANNELS, Page
from operators.pixels.tiff.readers import has_narrow_palette, is_decoded_to_rgb

_ALPHA = (1, 2)
_MODES = {0: "L", 1: "L", 2: "RGB", 3: "RGB", 5: "CMYK", 6: "YCbCr", 8: "LAB", 9: "LAB"}
_WITH_ALPHA = {("L", 1): "La", ("L", 2): "LA", ("RGB", 1): "RGBa", ("RGB", 2): "RGBA"}
"""(Mode of the colours, kind of alpha) -> mode of both."""


def image_of(samples: np.ndarray, page: Page) -> Image.Image:
    """An image of mode L, LA, RGB, RGBA or CMYK from samples (height, width, samples) uint8 or uint16.

    Of alpha that the colours are multiplied with, they are divided again, as Pillow does it.
    """
    bits, channels = page.bits[0], CHANNELS[page.photometric]
    alpha = next((at for at, kind in enumerate(page.extra, channels) if kind in _ALPHA), None)
    mode = "RGB" if is_decoded_to_rgb(page) else _MODES[page.photometric]
    image = _image(_colours(samples[..., :channels], page), mode)
    if alpha is not None:
        both = _WITH_ALPHA[image.mode, page.extra[alpha - channels]]
        image = Image.merge(both, [*image.split(), _image(eight_bit(samples[..., alpha : alpha + 1], bits), "L")])
    to = {"La": "LA", "RGBa": "RGBA", "YCbCr": "RGB", "LAB": "RGB"}
    return image.convert(to[image.mode]) if image.mode in to else image


def eight_bit(samples: np.ndarray, bits: int) -> np.ndarray:
    """Samples of `bits` bits as uint8, 255 for the highest: of more than 8 bits the high ones, as Pillow takes them."""
    if bits == 8:
        return samples
    if bits > 8:
        high: np.ndarray = samples >> (bits - 8)
        return high.astype(np.uint8)
    top = (1 << bits) - 1
    levels = np.round(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    return np.take(levels, samples)


def _colours(stored: np.ndarray, page: Page) -> np.ndarray:
    """(height, width, channels) uint8, as Pillow keeps the mode that belongs to it."""
    bits, photometric = page.bits[0], page.photometric
    if photometric == 3:
        return np.take(_palette(page), stored[..., 0], axis=0)
    eight = eight_bit(stored, bits)
    if photometric == 0:
        eight = 255 - eight
    if photometric == 9:  # a* and b* begin at -128, where CIELab's are signed
        eight = eight ^ np.array([0, 128, 128], np.uint8)
    return eight


def _palette(page: Page) -> np.ndarray:
    """(2 ** bits, 3) uint8."""
    values = np.array(page.tags[320], np.uint16).reshape(3, -1).T
    return (values if has_narrow_palette(page) else values >> 8).astype(np.uint8)


def _image(pixels: np.ndarray, mode: str) -> Image.Image:
    """Read as TIFF stores that mode: of LAB, a* and b* are signed."""
    height, width = pixels.shape[:2]
    return Image.frombuffer(mode, (width, height), np.ascontiguousarray(pixels), "raw", mode, 0, 1)
