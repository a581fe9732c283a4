"""BMP: what a fourth byte means, and which bit fields are read. Right values are those of Microsoft's headers."""

import struct

import numpy as np
import pytest

from made.image_files import bmp
from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=1_000_000)
BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def test_an_alpha_that_is_0_everywhere_is_no_alpha() -> None:
    """Writers leave the fourth byte at 0 under a header that calls it alpha; ImageMagick and browsers show colours."""
    pixels = np.array([[[10, 20, 30, 0], [40, 50, 60, 0]], [[70, 80, 90, 0], [1, 2, 3, 0]]], np.uint8)
    got = decode(bmp(pixels.tobytes(), (2, 2), 32, BGRA), RULES).pixels
    assert got.tolist() == [[[90, 80, 70], [3, 2, 1]], [[30, 20, 10], [60, 50, 40]]]


def test_an_alpha_that_is_not_0_everywhere_is_laid_on_white() -> None:
    pixels = np.array([[[10, 20, 30, 0], [40, 50, 60, 255]]], np.uint8)
    assert decode(bmp(pixels.tobytes(), (2, 1), 32, BGRA), RULES).pixels.tolist() == [[[255, 255, 255], [60, 50, 40]]]


@pytest.mark.parametrize(
    ("bits", "masks", "says"),
    [
        (32, (0x3FF00000, 0xFFC00, 0x3FF, 0), "3ff00000 ffc00 3ff"),
        (32, (0x3FF, 0xFFC00, 0x3FF00000, 0xC0000000), "3ff ffc00 3ff00000"),
        (16, (0xF00, 0xF0, 0xF, 0xF000), "f00 f0 f"),
    ],
)
def test_bit_fields_that_are_not_read_are_refused_by_name(bits: int, masks: tuple[int, ...], says: str) -> None:
    error = refusal(bmp(struct.pack("<I", 0x12345678), (1, 1), bits, masks))
    assert error.error_class is ErrorClass.UNSUPPORTED_FORMAT
    assert says in str(error)
    assert "convert it" in str(error)


@pytest.mark.parametrize(
    ("bits", "method", "says"), [(64, 0, "pixel depth (64)"), (2, 0, "depth (2)"), (24, 4, "compression (4)")]
)
def test_depths_and_compressions_that_are_not_read_are_refused_by_name(bits: int, method: int, says: str) -> None:
    error = refusal(bmp(bytes(8), (1, 1), bits, method=method))
    assert error.error_class is ErrorClass.UNSUPPORTED_FORMAT
    assert says in str(error)


def test_a_bmp_cut_short_is_truncated() -> None:
    assert refusal(bmp(bytes(64), (4, 4), 32, BGRA)[:-20]).error_class is ErrorClass.TRUNCATED


def refusal(data: bytes) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(data, RULES)
    return caught.value
