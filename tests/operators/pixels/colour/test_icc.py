"""Grey ICC profiles, with and without alpha, in every format that can hold both."""

import io
import struct
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=10**6)
LEVELS = np.repeat(np.arange(32, 256, 8, dtype=np.uint8)[None], 16, axis=0)
ALL_LEVELS = np.repeat(np.arange(256, dtype=np.uint8)[None], 4, axis=0)


def grey_profile(gamma: float) -> bytes:
    """ICC.1:2001: a grey display whose light is the sample to the power of `gamma`."""
    white = struct.pack(">3i", 63190, 65536, 54061)
    body = b"XYZ \0\0\0\0" + white + b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))
    table = struct.pack(">I", 2) + b"wtpt" + struct.pack(">II", 156, 20) + b"kTRC" + struct.pack(">II", 176, 14)
    head = struct.pack(">I4sI4s4s4s", 190, b"", 0x02400000, b"mntr", b"GRAY", b"XYZ ") + bytes(12) + b"acsp" + bytes(28)
    return (head + white).ljust(128, b"\0") + table + body


PROFILE = grey_profile(1.0)
LIGHT = LEVELS / 255
EXPECTED = 255 * (1.055 * LIGHT ** (1 / 2.4) - 0.055)
"""Linear grey in sRGB, by IEC 61966-2-1."""


def saved(mode: str, format: str, alpha: int = 255, **options: Any) -> bytes:
    image = Image.fromarray(LEVELS)
    if mode == "LA":
        image.putalpha(alpha)
        image.putpixel((0, 0), (32, 0))  # encoders leave out an alpha that is nowhere in use
    out = io.BytesIO()
    if format == "HEIF":
        pillow_heif.from_pillow(image).save(out, quality=100, icc_profile=PROFILE, **options)
    else:
        image.save(out, format, icc_profile=PROFILE, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        *[(mode, format, {}) for mode in ("L", "LA") for format in ("PNG", "TIFF", "HEIF")],
        ("L", "AVIF", {"quality": 100}),
    ],
)
def test_a_grey_profile_is_followed_with_alpha_and_without(mode: str, format: str, options: dict[str, Any]) -> None:
    pixels = decode(saved(mode, format, **options), RULES).pixels
    assert np.abs(pixels[4:] - EXPECTED[4:, :, None]).max() < 4


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_every_level_of_a_grey_profile_is_met(gamma: float, format: str) -> None:
    """IEC 61966-2-1, in float64; the curve has its gamma in 256ths."""
    out = io.BytesIO()
    Image.fromarray(ALL_LEVELS).save(out, format, icc_profile=grey_profile(gamma))
    light = (ALL_LEVELS / 255) ** (round(gamma * 256) / 256)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    if gamma == 2.2:  # within two levels of sRGB but for the darkest, where they are 7 apart
        assert np.abs(expected - ALL_LEVELS).max() > 5
    assert np.abs(decode(out.getvalue(), RULES).pixels - expected[..., None]).max() < 1


def test_a_grey_png_with_a_transparent_level_keeps_its_profile() -> None:
    pixels = decode(saved("L", "PNG", transparency=int(LEVELS[0, 3])), RULES).pixels
    assert (pixels[:, 3] == 255).all()
    others = np.arange(LEVELS.shape[1]) != 3
    assert np.abs(pixels[:, others] - EXPECTED[:, others, None]).max() < 4
    image = Image.fromarray(LEVELS > 128)
    out = io.BytesIO()
    image.save(out, "PNG", icc_profile=PROFILE, transparency=0)
    assert decode(out.getvalue(), RULES).pixels.min() == 255


def test_alpha_over_grey_is_laid_on_white_after_the_colours() -> None:
    pixels = decode(saved("LA", "PNG", alpha=128), RULES).pixels
    expected = EXPECTED * 128 / 255 + 127
    assert np.abs(pixels[4:] - expected[4:, :, None]).max() < 3
