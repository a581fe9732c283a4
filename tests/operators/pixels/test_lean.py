"""Large WebPs take another way through libwebp than small ones, and animated, damaged or cut ones that of small ones:
the pixels and the errors are Pillow's."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from operators.base.errors import BadImage, ErrorClass
from operators.pixels import lean
from operators.pixels.images import DecodeRules, decode
from operators.pixels.lean import LeanWebP, large_webp
from tests.operators.pixels.jpeg.test_blocks import swapped_profile

RULES = DecodeRules(max_pixels=1_000_000)
SIZE = (61, 47)


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "_LARGE_PIXELS", 1)


def picture(mode: str) -> Image.Image:
    samples = np.random.default_rng(0).integers(0, 256, (6, 7, 4), np.uint8)
    return Image.fromarray(samples).resize(SIZE, Image.Resampling.BICUBIC).convert(mode)


def webp(mode: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture(mode).save(out, "WEBP", **options)
    return out.getvalue()


EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""Orientation 6."""
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lossy": ("RGB", {"quality": 60}),
    "lossless": ("RGB", {"lossless": True}),
    "alpha": ("RGBA", {"quality": 60}),
    "lossless alpha": ("RGBA", {"lossless": True, "exact": True}),
    "sharp": ("RGB", {"quality": 60, "use_sharp_yuv": True}),
    "profile": ("RGB", {"quality": 60, "icc_profile": swapped_profile()}),
    "profile and alpha": ("RGBA", {"quality": 60, "icc_profile": swapped_profile()}),
    "turned": (
        "RGB",
        {"quality": 60, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_pillow(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mode, options = KINDS[kind]
    data = webp(mode, **options)
    image = LeanWebP(io.BytesIO(data))
    samples = large_webp(image, data)
    assert samples is not None
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(samples, np.asarray(opened))
    whole = decode(data, RULES).pixels
    monkeypatch.setattr(lean, "_LARGE_PIXELS", 1 << 30)
    assert np.array_equal(whole, decode(data, RULES).pixels)
    assert np.array_equal(whole, decode(data, DecodeRules(max_pixels=10_000, colour="ignore")).pixels) == (
        "profile" not in kind
    )
    assert whole.shape == ((61, 47, 3) if kind == "turned" else (47, 61, 3))


def test_an_animation_gives_its_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    picture("RGB").save(out, "WEBP", save_all=True, append_images=[picture("RGB").rotate(90)], lossless=True)
    data = out.getvalue()
    assert large_webp(LeanWebP(io.BytesIO(data)), data) is None
    assert np.array_equal(decode(data, RULES).pixels, np.asarray(picture("RGB")))


@pytest.mark.parametrize("kind", ["lossy", "lossless", "alpha"])
def test_damaged_files_give_the_pixels_and_the_errors_of_small_ones(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mode, options = KINDS[kind]
    whole, random = webp(mode, **options), np.random.default_rng(1)
    failed = 0
    for _ in range(60):
        data = bytearray(whole)
        for at in random.integers(12, len(data), random.integers(1, 4)):
            data[at] = random.integers(256)
        both = []
        for least in (1, 1 << 30):
            monkeypatch.setattr(lean, "_LARGE_PIXELS", least)
            both.append(_outcome(bytes(data)))
        assert both[0] == both[1]
        failed += isinstance(both[0], str)
    assert 0 < failed < 60


def _outcome(data: bytes) -> bytes | str:
    try:
        return decode(data, RULES).pixels.tobytes()
    except BadImage as error:
        return f"{error.error_class}: {error}"


def test_a_file_that_is_cut_is_truncated() -> None:
    with pytest.raises(BadImage) as raised:
        decode(webp("RGB")[:-20], RULES)
    assert raised.value.error_class is ErrorClass.TRUNCATED
