"""JPEG XL: pixels, guards, turns and colours; and what is said without its package."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pillow_jxl  # noqa: F401  # lets Pillow write the format
import pytest
from PIL import Image

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.headers.jxl import jxl_header
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=10**6)
AS_STORED = DecodeRules(max_pixels=10**6, orient=False)
CORNERS = np.zeros((32, 64, 3), np.uint8)
CORNERS[:16, :32, 0] = CORNERS[:16, 32:, 1] = CORNERS[16:, :32, 2] = 250


def jxl(pixels: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JXL", **{"lossless": True, "effort": 1} | options)
    return out.getvalue()


def turned(data: bytes, orientation: int) -> bytes:
    """The bare lossless codestream of `CORNERS` with an orientation in its metadata (18181-1, D.2 and D.3).

    With it go an intrinsic size, and the tone mapping's bit, which makes 16 bits: all behind keeps its place in its
    byte.
    """
    bits, at = int.from_bytes(data[2:], "little"), 9
    assert bits & 1 == 1  # the size in eights takes nine bits
    assert bits >> at & 3 == 0  # neither is all default, nor are there extra fields
    assert bits >> at + 9 & 1 == 1  # behind depth and channels: sRGB
    new, width = bits & (1 << at + 1) - 1, at + 1
    fields = [(1, 1), (orientation - 1, 3), (1, 1), (1, 1), (3, 5), (7, 3), (0, 1), (0, 1)]
    for value, count in (*fields, (bits >> at + 2 & 0xFF, 8), (1, 1), (bits >> at + 10, 8 * len(data))):
        new, width = new | value << width, width + count
    return data[:2] + new.to_bytes(len(data), "little")


def test_lossless_colour_grey_and_alpha_come_back_as_they_were() -> None:
    assert decode(jxl(CORNERS), RULES).format == "jxl"
    np.testing.assert_array_equal(decode(jxl(CORNERS), RULES).pixels, CORNERS)
    np.testing.assert_array_equal(decode(jxl(CORNERS, use_container=True), RULES).pixels, CORNERS)
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None], 8, axis=0)
    np.testing.assert_array_equal(decode(jxl(levels), RULES).pixels, np.stack([levels] * 3, axis=-1))
    hidden = np.dstack([CORNERS, np.zeros((32, 64), np.uint8)])
    assert decode(jxl(hidden), RULES).pixels.min() == 255


def test_sixteen_bits_are_brought_to_eight_and_to_srgb() -> None:
    """Pillow's plugin writes them as linear light, and says so in the file: IEC 61966-2-1."""
    levels = np.repeat(np.arange(32, 256, dtype=np.uint16)[None] * 257, 8, axis=0)
    expected = 255 * (1.055 * (levels / 65535) ** (1 / 2.4) - 0.055)
    assert np.abs(decode(jxl(levels), RULES).pixels - expected[..., None]).max() < 3


def test_a_jpeg_stored_in_it_is_decoded_as_that_jpeg(tmp_path: Path) -> None:
    """18181-2, annex A: the JPEG comes back bit for bit, its EXIF orientation too."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(CORNERS).save(tmp_path / "a.jpg", quality=95, exif=exif)
    out = io.BytesIO()
    with Image.open(tmp_path / "a.jpg") as image:
        image.save(out, "JXL", lossless_jpeg=True)
    jpeg = (tmp_path / "a.jpg").read_bytes()
    for rules in (RULES, AS_STORED):
        np.testing.assert_array_equal(decode(out.getvalue(), rules).pixels, decode(jpeg, rules).pixels)
    assert decode(out.getvalue(), RULES).pixels.shape == (64, 32, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_codestream_turns_it_and_exif_does_not(orientation: int) -> None:
    upright = {
        1: CORNERS, 2: CORNERS[:, ::-1], 3: CORNERS[::-1, ::-1], 4: CORNERS[::-1],
        5: CORNERS.swapaxes(0, 1), 6: np.rot90(CORNERS, -1),
        7: CORNERS[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(CORNERS),
    }[orientation]  # fmt: skip
    data = turned(jxl(CORNERS), orientation)
    assert jxl_header(data).orientation == orientation
    np.testing.assert_array_equal(decode(data, RULES).pixels, upright)
    np.testing.assert_array_equal(decode(data, AS_STORED).pixels, CORNERS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(jxl(CORNERS, exif=exif.tobytes()), RULES).pixels, CORNERS)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 16), (17, 31), (300, 400), (100, 2000), (256, 512)])
@pytest.mark.parametrize("use_container", [False, True])
def test_the_size_is_read_before_anything_is_decoded(size: tuple[int, int], use_container: bool) -> None:
    data = jxl(np.zeros(size, np.uint8), use_container=use_container)
    header = jxl_header(data)
    assert (header.height, header.width, header.orientation) == (*size, 1)
    with pytest.raises(BadImage, match=r"in the header, more than max_pixels = 0") as caught:
        decode(data[: 64 if use_container else 12], DecodeRules(max_pixels=0))
    assert caught.value.error_class is ErrorClass.TOO_MANY_PIXELS


def test_files_that_are_cut_or_damaged_are_refused() -> None:
    whole = jxl(CORNERS, use_container=True)
    for cut in (whole[:-1], whole[: len(whole) - 20]):
        with pytest.raises(BadImage) as caught:
            decode(cut, RULES)
        assert caught.value.error_class is ErrorClass.TRUNCATED
    for data in (jxl(CORNERS)[:20], b"\xff\x0a", whole[:12], whole[:12] + struct.pack(">I4s", 8, b"free")):
        with pytest.raises(BadImage) as caught:
            decode(data, RULES)
        assert caught.value.error_class in (ErrorClass.CORRUPT, ErrorClass.TRUNCATED)


def test_what_stands_behind_the_last_box_is_not_looked_at() -> None:
    whole = jxl(CORNERS, use_container=True)
    for tail in (b"\n", bytes(8), b"some text behind it"):
        np.testing.assert_array_equal(decode(whole + tail, RULES).pixels, decode(whole, RULES).pixels)


def test_grey_in_floating_point_is_refused_by_name() -> None:
    with pytest.raises(BadImage, match="floating point") as caught:
        decode(jxl(np.ones((8, 8), np.float32)), RULES)
    assert caught.value.error_class is ErrorClass.UNSUPPORTED_FORMAT


def test_without_its_package_a_row_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jxl(CORNERS)
    monkeypatch.setitem(__import__("sys").modules, "pillow_jxl.pillow_jxl", None)
    with pytest.raises(BadImage, match=r"pip install 'pixlake\[jxl\]'") as caught:
        decode(data, RULES)
    assert caught.value.error_class is ErrorClass.UNSUPPORTED_FORMAT
