"""JPEGs read without Pillow end as Pillow would have them end, whatever their bytes."""

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from operators.base.errors import BadImage
from operators.pixels.images import DecodeRules, _as_bad_image, _decode_any, decode
from operators.pixels.jpeg.plain import plain_size

RULES = DecodeRules(max_pixels=1_000_000)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
PLAIN: tuple[dict[str, Any], ...] = (
    {},
    {"progressive": True},
    {"subsampling": "4:4:4", "quality": 95},
    {"keep_rgb": True},
    {"comment": b"a comment"},
    {"restart_marker_rows": 1},
    {"dpi": (72, 72)},
)


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    NOISE.convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def outcome(data: bytes, *, by_pillow: bool) -> tuple[Any, ...]:
    """(shape, pixels), or (class, message)."""
    try:
        if by_pillow:
            with _as_bad_image("jpeg", data):
                pixels = _decode_any("jpeg", data, RULES).pixels
        else:
            pixels = decode(data, RULES).pixels
    except BadImage as error:
        return error.error_class, str(error)
    return pixels.shape, pixels.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", PLAIN)
def test_plain_files_are_read_without_pillow_and_are_the_same(mode: str, options: dict[str, Any]) -> None:
    data = jpeg(mode, **({} if mode == "L" else options))
    assert plain_size(data) == (32, 24)
    assert outcome(data, by_pillow=False) == outcome(data, by_pillow=True)


def test_what_may_turn_or_colour_pixels_is_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert plain_size(jpeg("CMYK")) is None
    assert plain_size(jpeg(exif=exif)) is None
    assert plain_size(jpeg(xmp=b"<x:xmpmeta/>")) is None
    assert plain_size(jpeg(icc_profile=profile)) is None


@pytest.mark.parametrize("cut", [3, 20, 100, 300])
def test_a_header_that_breaks_off_is_left_to_pillow(cut: int) -> None:
    assert plain_size(jpeg()[:cut]) is None


def test_the_limit_of_pixels_is_checked_on_the_header() -> None:
    with pytest.raises(BadImage, match="32 x 24 pixels in the header, more than max_pixels = 767"):
        decode(jpeg(), DecodeRules(max_pixels=767))


def test_damaged_files_end_as_with_pillow() -> None:
    """4,000 files with bytes changed, put in, left out, repeated or cut off, most of them in the header."""
    chance = random.Random(0)
    whole = [jpeg(mode, **options) for mode in ("RGB", "L") for options in PLAIN[: 7 if mode == "RGB" else 2]]
    plain = 0
    for _ in range(4000):
        data = damaged(bytearray(chance.choice(whole)), chance)
        plain += plain_size(data) is not None
        assert outcome(data, by_pillow=False) == outcome(data, by_pillow=True), data.hex()
    assert plain > 1000


def damaged(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice([1, 1, 2, 4])):
        end = min(len(data), 700) if chance.random() < 0.8 else len(data)
        at = chance.randrange(3, max(end, 4))
        match chance.choice(["change"] * 5 + ["put in", "leave out", "cut", "repeat"]):
            case "change":
                data[at : at + 1] = bytes([chance.choice([chance.randrange(256), 0xFF, 0, 1, 8])])
            case "put in":
                data[at:at] = bytes([chance.randrange(256)])
            case "leave out":
                del data[at]
            case "cut":
                del data[at:]
            case "repeat":
                data[at:at] = data[2:20]
    return bytes(data)
