"""What a decode process holds, at rest and at the most: resident memory, libraries that others map too among it."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from operators.decoding.process import DecodeProcess
from operators.decoding.shared_rows import DONE
from tests.operators.decoding.test_process import decoded, png, process

MOST_MB = 600
SIDE = 7000
"""49 megapixels, of the 50 that are taken."""


def large(mode: str, format: str, side: int = SIDE, **options: Any) -> memoryview:
    out = io.BytesIO()
    Image.new(mode, (side, side), 77).save(out, format, **options)
    return out.getbuffer()


def megabytes(decoder: DecodeProcess, field: str) -> int:
    with open(f"/proc/{decoder.pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith(field + ":"))


@pytest.fixture
def decoder() -> Iterator[DecodeProcess]:
    started = process()
    started.start()
    yield started
    started.close()


def test_at_rest_it_holds_the_resize_kernel_and_little_else(decoder: DecodeProcess) -> None:
    assert decoded(decoder, [png(10)])[0]["state"].tolist() == [DONE]
    assert megabytes(decoder, "VmHWM") < 260
    assert megabytes(decoder, "RssAnon") < 130


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        ("RGBA", "PNG", {"compress_level": 1}),
        ("CMYK", "JPEG", {}),
        ("P", "GIF", {}),
        ("RGB", "WEBP", {"quality": 50, "method": 0}),
        ("RGB", "AVIF", {"speed": 10, "quality": 40}),
    ],
)
def test_the_largest_pictures_leave_it_under_its_bound(
    decoder: DecodeProcess, mode: str, format: str, options: dict[str, Any]
) -> None:
    records, _ = decoded(decoder, [large(mode, format, **options)])
    assert records["state"].tolist() == [DONE], records["message"]
    assert megabytes(decoder, "VmHWM") < MOST_MB


def test_what_a_large_picture_took_is_given_back(decoder: DecodeProcess) -> None:
    """18 megapixels, whose memory glibc would keep for the next picture: 84 MB of a GIF's, 170 of an AVIF's."""
    decoded(decoder, [png(10)])
    before = megabytes(decoder, "RssAnon")
    assert decoded(decoder, [large("P", "GIF", side=4250)])[0]["state"].tolist() == [DONE]
    assert megabytes(decoder, "RssAnon") < before + 40
