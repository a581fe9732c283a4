"""A picture is the same whatever the bands that it is converted in."""

import io
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from operators.pixels.colour import bands
from operators.pixels.images import DecodeRules, decode

PHOTO = Image.fromarray(skimage.data.astronaut()).resize((90, 61))


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def with_alpha(image: Image.Image) -> Image.Image:
    alpha = np.linspace(0, 255, image.width * image.height).astype(np.uint8).reshape(image.height, image.width)
    image = image.copy()
    image.putalpha(Image.fromarray(alpha))
    return image


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


FILES = {
    "png": saved(PHOTO, "PNG"),
    "png with alpha": saved(with_alpha(PHOTO), "PNG"),
    "png with grey and alpha": saved(with_alpha(PHOTO.convert("L")), "PNG"),
    "png with a palette": saved(PHOTO.quantize(60), "PNG", transparency=5),
    "png with a colour key": saved(PHOTO, "PNG", transparency=PHOTO.getpixel((4, 40))),
    "png of one bit with a key": saved(PHOTO.convert("1"), "PNG", transparency=0),
    "png of 16 bits": saved(Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257), "PNG"),
    "jpeg of cmyk": saved(PHOTO.convert("CMYK"), "JPEG"),
    "jpeg turned": saved(PHOTO, "JPEG", exif=turned()),
    "gif": saved(PHOTO.quantize(60), "GIF", transparency=5),
    "bmp": saved(PHOTO.quantize(60), "BMP"),
    "tiff of cmyk": saved(PHOTO.convert("CMYK"), "TIFF"),
    "webp with alpha": saved(with_alpha(PHOTO), "WEBP", lossless=True),
    "avif with alpha": saved(with_alpha(PHOTO), "AVIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_bands_of_a_few_lines_give_what_the_whole_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = decode(FILES[name], DecodeRules(max_pixels=10_000)).pixels
    monkeypatch.setattr(bands, "BAND_PIXELS", 7 * 90 + 5)
    in_bands = decode(FILES[name], DecodeRules(max_pixels=10_000)).pixels
    assert in_bands.flags.c_contiguous
    np.testing.assert_array_equal(in_bands, whole)


def test_each_row_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "BAND_PIXELS", 20)
    asked: list[tuple[int, int]] = []

    def band(top: int, bottom: int) -> np.ndarray:
        asked.append((top, bottom))
        return np.full((bottom - top, 9, 3), top, np.uint8)

    assert bands.filled(9, 5, band)[:, 0, 0].tolist() == [0, 0, 2, 2, 4]
    assert asked == [(0, 2), (2, 4), (4, 5)]
