"""Brings colours to sRGB, by ICC profiles, with transforms cached by profile."""

import io
import struct
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from operators.pixels.colour.profile import Coded

MAX_ICC_BYTES = 4 * 1024 * 1024
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_SAME_WITHIN = 2
"""Levels (of 255) within which a profile's transform counts as plain sRGB: the common sRGB profiles differ by 1 to
2."""

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def needs_conversion(icc: bytes | None, mode: str) -> bool:
    """Whether pixels of Pillow mode `mode` ("L", "RGB" or "CMYK") would change on the way to sRGB."""
    return isinstance(_transform(icc, mode), ImageCms.ImageCmsTransform)


def to_srgb(image: Image.Image, icc: bytes | None, coded: Coded | None = None) -> Image.Image:
    """An image of mode L, LA, RGB, RGBA or CMYK as "RGB" (or "RGBA", where it has alpha) in sRGB.

    A profile that is sRGB leaves the pixels as they are. One that is broken, over `MAX_ICC_BYTES`, or made for other
    channels than the image's, is ignored: `coded` then says the colours, and without it the pixels are taken as sRGB
    (CMYK: converted without a profile).
    """
    has_alpha = image.mode in ("LA", "RGBA")
    channels = image.mode[:-1] if has_alpha else image.mode
    transform = _transform(icc, channels)
    if transform is None and coded is not None and channels != "CMYK":
        image, channels = image.convert("RGBA" if has_alpha else "RGB"), "RGB"
        transform = _coded_transform(coded)
    if transform is None or transform == "same":
        return image.convert("RGBA" if has_alpha else "RGB")
    rgb = _applied(transform, image.convert(channels) if has_alpha else image)
    if has_alpha:
        rgb.putalpha(image.getchannel("A"))
    return rgb


def on_white(image: Image.Image) -> Image.Image:
    """An "RGBA" image composited on white; others are returned as they are."""
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white


@lru_cache(maxsize=16)
def _transform(icc: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | Literal["same"] | None:
    """The transform to sRGB; "same" where it would change nothing, None where the profile cannot be used."""
    if not icc or len(icc) > MAX_ICC_BYTES or icc[16:20].decode("latin-1").strip() != _SPACES.get(mode):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        exact = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(profile, _SRGB, mode, "RGB", flags=exact)
        probe = _lattice(mode)
        changed = ImageCms.applyTransform(probe, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if mode == "CMYK" or changed is None:
        return transform
    difference = np.asarray(changed, np.int16) - np.asarray(probe.convert("RGB"), np.int16)
    return "same" if np.abs(difference).max() <= _SAME_WITHIN else transform


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    """Greyscale level by level, all 256 of them, which is 40 times as fast. LittleCMS's own short cut for it is up to
    10 levels off in the darks of a linear profile."""
    rgb = ImageCms.applyTransform(_lattice("L") if image.mode == "L" else image, transform)
    if rgb is None:
        raise RuntimeError("ImageCms gave no image")
    if image.mode != "L":
        return rgb
    return Image.merge("RGB", [image.point(list(channel.tobytes())) for channel in rgb.split()])


def _coded_transform(coded: Coded) -> ImageCms.ImageCmsTransform | Literal["same"] | None:
    try:
        return _transform(coded.profile(), "RGB")
    except (ArithmeticError, struct.error, np.linalg.LinAlgError):  # numbers of the file that describe no colours
        return None


def _lattice(mode: str) -> Image.Image:
    """A small image with colours from all over the RGB cube."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    grid = np.stack(np.meshgrid(*[levels] * len(mode), indexing="ij"), axis=-1)
    flat = np.ascontiguousarray(grid.reshape(1, -1, len(mode)))
    return Image.frombytes(mode, (flat.shape[1], 1), flat.tobytes())
