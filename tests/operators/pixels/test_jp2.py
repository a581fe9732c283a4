"""JPEG 2000: pixels, guards, and colours by the boxes of its header."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=10**6)
Y, X = np.mgrid[:24, :32]
SMOOTH = np.stack([Y * 8, X * 7, 255 - Y * 4 - X * 2], axis=2).astype(np.uint8)


def jp2(pixels: np.ndarray | Image.Image, **options: Any) -> bytes:
    """Without loss, which is Pillow's default."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = io.BytesIO()
    image.save(out, "JPEG2000", **options)
    return out.getvalue()


def coloured(data: bytes, body: bytes) -> bytes:
    """With another colour specification box (15444-1, I.5.3.3) in place of Pillow's."""
    at, head = data.index(b"colr") - 4, data.index(b"jp2h") - 4
    old, whole = struct.unpack_from(">I", data, at)[0], struct.unpack_from(">I", data, head)[0]
    colr = struct.pack(">I4s", 8 + len(body), b"colr") + body
    size = struct.pack(">I", whole - old + len(colr))
    return data[:head] + size + data[head + 4 : at] + colr + data[at + old :]


@pytest.mark.parametrize("no_jp2", [False, True], ids=["boxes", "codestream"])
def test_lossless_colour_grey_depths_and_alpha_come_back_as_they_were(no_jp2: bool) -> None:
    decoded = decode(jp2(SMOOTH, no_jp2=no_jp2), RULES)
    assert decoded.format == "jp2"
    np.testing.assert_array_equal(decoded.pixels, SMOOTH)
    grey = np.repeat(SMOOTH[..., :1], 3, axis=2)
    np.testing.assert_array_equal(decode(jp2(SMOOTH[..., 0], no_jp2=no_jp2), RULES).pixels, grey)
    deep = SMOOTH[..., 0].astype(np.uint16) << 8 | 0x37
    np.testing.assert_array_equal(decode(jp2(deep, no_jp2=no_jp2), RULES).pixels, grey)
    hidden = np.dstack([SMOOTH, np.zeros((24, 32), np.uint8)])
    assert decode(jp2(hidden, no_jp2=no_jp2), RULES).pixels.min() == 255


def test_an_icc_profile_is_followed() -> None:
    """Red and green of sRGB change places, which is easy to tell."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"____", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"____", b"gXYZ", 1)
    red = jp2(np.full((16, 16, 3), (250, 0, 0), np.uint8))
    data = coloured(red, b"\2\0\0" + swapped)
    got = decode(data, RULES).pixels[8, 8]
    assert got[1] > 240
    assert got[0] < 15
    assert decode(data, DecodeRules(max_pixels=10**6, colour="ignore")).pixels[8, 8].tolist() == [250, 0, 0]
    assert decode(coloured(red, b"\2\0\0" + srgb), RULES).pixels[8, 8].tolist() == [250, 0, 0]
    assert decode(coloured(red, b"\2\0\0nonsense"), RULES).pixels[8, 8].tolist() == [250, 0, 0]


@pytest.mark.parametrize(("number", "name"), [(14, "CIELab"), (21, "ROMM-RGB"), (3, "YCbCr"), (99, "of number 99")])
def test_colours_that_would_be_taken_for_others_are_refused_by_name(number: int, name: str) -> None:
    with pytest.raises(BadImage, match=name) as caught:
        decode(coloured(jp2(SMOOTH), b"\1\0\0" + struct.pack(">I", number)), RULES)
    assert caught.value.error_class is ErrorClass.UNSUPPORTED_FORMAT


def test_cmyk_is_read_where_the_header_says_so() -> None:
    cmyk = Image.fromarray(SMOOTH).convert("CMYK")
    assert np.abs(decode(jp2(cmyk), RULES).pixels.astype(int) - SMOOTH).max() <= 1


def test_the_size_is_checked_on_the_header_and_ends_that_are_missing_are_told() -> None:
    data = jp2(SMOOTH)
    with pytest.raises(BadImage, match="32 x 24 pixels") as caught:
        decode(data, DecodeRules(max_pixels=700))
    assert caught.value.error_class is ErrorClass.TOO_MANY_PIXELS
    for cut in (data[:-2], data[:-40], jp2(SMOOTH, no_jp2=True)[:-60]):
        with pytest.raises(BadImage) as caught:
            decode(cut, RULES)
        assert caught.value.error_class is ErrorClass.TRUNCATED
