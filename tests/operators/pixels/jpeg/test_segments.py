"""Segments beside the picture cannot fail a JPEG: libjpeg passes over what it does not know, and so do browsers."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from operators.base.errors import BadImage
from operators.pixels.images import DecodeRules, decode
from operators.pixels.jpeg.segments import without_side_segments

RULES = DecodeRules(max_pixels=1_000_000)
EXIF = Image.Exif()
EXIF[0x0112] = 3


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(mode: str = "RGB", exif: Image.Exif | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).resize((32, 24)).convert(mode).save(
        out, "JPEG", exif=exif or b"", **options
    )
    return out.getvalue()


SHORT = [
    *(segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"[:size]) for size in (4, 5, 6)),
    *(segment(0xE2, b"ICC_PROFILE\0\1\1"[:size]) for size in (12, 13)),
    *(segment(0xEE, b"Adobe\0d\0\0\0\0\1"[:size]) for size in (5, 6, 8)),
]
OTHERS = [
    segment(0xE1, b"Exif\0\0MM\0*"),
    segment(0xE2, b"MPF\0MM"),
    segment(0xED, b"Photoshop 3.0\x008BIM\3\xed"),
    segment(0xEB, b""),
    segment(0xFE, b"\xff" * 9),
]


@pytest.mark.parametrize("broken", [*SHORT, *OTHERS])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_segment_that_says_nothing_of_pixels_changes_nothing(broken: bytes, mode: str) -> None:
    data = jpeg(mode)
    np.testing.assert_array_equal(decode(data[:2] + broken + data[2:], RULES).pixels, decode(data, RULES).pixels)


def test_what_decoders_pass_over_between_segments_is_left_to_them() -> None:
    """A JFIF segment that says to be shorter than it is, as an editor left one in the wild."""
    data = jpeg()
    end = 4 + int.from_bytes(data[4:6], "big")
    broken = data[:4] + b"\0\2" + data[6:end] + data[end:]
    np.testing.assert_array_equal(decode(broken, RULES).pixels, decode(data, RULES).pixels)


def test_the_other_segments_beside_it_count() -> None:
    data = jpeg(exif=EXIF)
    got = decode(data[:2] + SHORT[0] + SHORT[-1] + data[2:], RULES).pixels
    np.testing.assert_array_equal(got, decode(jpeg(), RULES).pixels[::-1, ::-1])


def test_a_file_without_such_segments_is_left_as_it_is() -> None:
    for data in (jpeg(), jpeg("CMYK"), jpeg(exif=EXIF), jpeg()[:100], b"", b"\xff\xd8\xff"):
        assert without_side_segments(data) is data


@pytest.mark.parametrize("options", [{}, {"exif": EXIF}, {"progressive": True}, {"comment": b"a comment"}])
def test_a_file_that_ends_anywhere_is_truncated(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    for length in [*range(3, 700), *range(700, len(data) - 2, 50)]:
        with pytest.raises(BadImage) as caught:
            decode(data[:length], RULES)
        assert caught.value.error_class == "truncated", (length, str(caught.value))
