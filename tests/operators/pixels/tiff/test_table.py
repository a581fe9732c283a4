"""The rows for TIFF in the table of `docs/images.md`: each is made from arrays by code, and ends as the row says.

Right pixels are the arrays that files were made of, as TIFF 6.0 reads them, or what tifffile makes of compressed ones.
"""

import io
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from made.tiffs import directory, subsampled, tiff, tiff_file
from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode

PAGE = Path(__file__).parents[4] / "docs" / "images.md"
RULES = DecodeRules(max_pixels=1_000_000)
Y, X = np.mgrid[:24, :32]
SMOOTH = np.stack([Y * 8, X * 7, 255 - Y * 4 - X * 2], axis=2)
GREY = np.repeat(SMOOTH[..., :1], 3, axis=2)
WHITE = np.full_like(SMOOTH, 255)
OPAQUE, CLEAR = (np.full((24, 32, 1), alpha) for alpha in (255, 0))
INKS = np.concatenate([255 - SMOOTH, CLEAR], axis=2)
LEVELS = {1: 255, 2: 85, 4: 17}
YCBCR = np.array(Image.new("YCbCr", (32, 24), (90, 140, 160)))
OF_YCBCR = np.asarray(Image.new("YCbCr", (32, 24), (90, 140, 160)).convert("RGB"))
"""By Pillow's conversion, JFIF's."""
PALETTE = [*range(0, 65536, 257), *range(65535, -1, -257), *[0] * 256]
SMALL = directory(CLEAR[:4, :4], photometric=1, tags={254: (4, [1])})
SENSOR = directory(GREY[..., :1], photometric=32803)
REFUSED = ErrorClass.UNSUPPORTED_FORMAT


def by_tifffile(compression: str, pixels: np.ndarray = SMOOTH, photometric: str = "rgb") -> tuple[bytes, np.ndarray]:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels.astype(np.uint8), photometric=photometric, compression=compression)
    return out.getvalue(), tifffile.imread(io.BytesIO(out.getvalue()))


def fax() -> bytes:
    out = io.BytesIO()
    Image.fromarray(SMOOTH[..., 0] > 90).save(out, "TIFF", compression="group4")
    return out.getvalue()


def few(bits: int, photometric: int) -> tuple[bytes, np.ndarray]:
    samples = (X + Y)[..., None] % (1 << bits)
    levels = np.repeat(samples * LEVELS[bits], 3, axis=2)
    return tiff(samples, photometric=photometric, bits=bits), levels if photometric else 255 - levels


def thinned(step: tuple[int, int]) -> bytes:
    page = directory(YCBCR, photometric=6, tags={530: (3, step)})
    page.chunks = [subsampled(YCBCR, *step)]
    return tiff_file([page])


CODECS = ["packbits", "lzw", "zlib", "lzma", "zstd", "jpeg", "webp", "jpeg2000", "jpegxl", "png", "lerc"]
ORDERS = [{"order": order, "big": big} for order, big in product("<>", (False, True))]
ROWS: dict[str, list[tuple[bytes, Any]]] = {
    "1 to 16 bits a sample, grey (black or white is zero), RGB, CMYK; either byte order; BigTIFF": [
        *(few(bits, photometric) for bits in LEVELS for photometric in (0, 1)),
        *((tiff(SMOOTH, photometric=2, **order), SMOOTH) for order in ORDERS),
        *((tiff(SMOOTH << 4 | 9, photometric=2, bits=12, **order), SMOOTH) for order in ORDERS),
        *((tiff(SMOOTH[..., :1] << 8, photometric=0, bits=16, **order), 255 - GREY) for order in ORDERS),
        (tiff(INKS, photometric=5), SMOOTH),
    ],
    "planes (PlanarConfiguration 2)": [
        (tiff(pixels << bits - 8, photometric=photometric, planar=2, bits=bits, order=order), SMOOTH)
        for (pixels, photometric), bits, order in product(((SMOOTH, 2), (INKS, 5)), (8, 12, 16), "<>")
    ],
    "alpha, premultiplied or not": [
        *((tiff(np.dstack([SMOOTH, OPAQUE]), photometric=2, extra=(kind,)), SMOOTH) for kind in (1, 2)),
        *((tiff(np.dstack([CLEAR, CLEAR]), photometric=1, extra=(kind,)), WHITE) for kind in (1, 2)),
    ],
    "palettes": [
        (
            tiff(SMOOTH[..., :1], photometric=3, tags={320: (3, PALETTE)}),
            np.dstack([GREY[..., :1], 255 - GREY[..., :1], CLEAR]),
        )
    ],
    "YCbCr of 8 bits, with any subsampling": [
        (thinned(step), OF_YCBCR) for step in ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4))
    ],
    "CIELab and ICCLab, 8 and 16 bits": [
        *((tiff(WHITE * (1, 0, 0), photometric=8, planar=planar), WHITE) for planar in (1, 2)),
        (tiff(WHITE * (257, 0, 0), photometric=8, bits=16), WHITE),
        (tiff(WHITE * (1, 0, 0) + (0, 128, 128), photometric=9), WHITE),
    ],
    "compressed: PackBits, LZW, Deflate, LZMA, Zstandard, CCITT, JPEG, WebP, JPEG 2000, JPEG XL, PNG, LERC": [
        *map(by_tifffile, CODECS),
        (fax(), np.repeat((SMOOTH[..., :1] > 90) * 255, 3, axis=2)),
    ],
    "a smaller version or a mask before the picture (NewSubfileType), the picture below it (SubIFDs)": [
        (tiff_file([SMALL, directory(SMOOTH, photometric=2)]), SMOOTH),
        (
            tiff_file(
                [directory(CLEAR, photometric=4, bits=1, tags={254: (4, [4])}), directory(SMOOTH, photometric=2)]
            ),
            SMOOTH,
        ),
        (
            tiff_file(
                [directory(CLEAR, photometric=1, tags={254: (4, [1])}, below=[SMALL, directory(SMOOTH, photometric=2)])]
            ),
            SMOOTH,
        ),
    ],
    "signed, floating-point and complex samples; over 16 bits": [
        (tiff(SMOOTH, photometric=2, bits=bits, sample_format=kind), REFUSED)
        for bits, kind in ((8, 2), (16, 2), (32, 3), (32, 6), (32, 1), (24, 1))
    ],
    "channels or colours that no tag explains, LogLuv, masks, other inks, CMYK with alpha": [
        (tiff(SMOOTH, photometric=1, extra=(0, 0)), REFUSED),
        (tiff(SMOOTH, photometric=None), REFUSED),
        (tiff(SMOOTH, photometric=32845, bits=16), REFUSED),
        (tiff(CLEAR, photometric=4, bits=1), REFUSED),
        (tiff(INKS, photometric=5, tags={332: (3, [2])}), REFUSED),
        (tiff(np.dstack([INKS, OPAQUE]), photometric=5, extra=(2,)), REFUSED),
    ],
    "JBIG, JPEG XR and other compressions": [
        (tiff(SMOOTH, photometric=2, compression=kind, encode=bytes), REFUSED) for kind in (34661, 34934, 32766, 4711)
    ],
    "a raw camera file (DNG, NEF, CR2, ARW, PEF and kin)": [
        (tiff_file([directory(SMOOTH, photometric=2, below=[SENSOR])]), REFUSED),
        (tiff_file([SENSOR, directory(SMOOTH, photometric=2)]), REFUSED),
        (tiff(SMOOTH, photometric=2, tags={50706: (1, [1, 4, 0, 0])}), REFUSED),
    ],
    "the file ends early": [
        (tiff(SMOOTH, photometric=2, bits=bits, compression=compression)[:-600], ErrorClass.TRUNCATED)
        for bits, compression in product((8, 12), (1, 8))
    ],
    "compressed data that is damaged": [
        (tiff(SMOOTH, photometric=2, bits=bits, compression=8, encode=lambda data: data), ErrorClass.CORRUPT)
        for bits in (8, 12)
    ],
}


def table() -> dict[str, str]:
    section = PAGE.read_text().partition("## What is read, and what is refused\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `tiff` | ")]
    return {what: result for _, what, result in rows}


def test_the_page_has_these_rows_of_tiff_and_no_others() -> None:
    assert set(table()) == set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_a_tiff_ends_as_its_row_says(row: str) -> None:
    for data, right in ROWS[row]:
        if isinstance(right, ErrorClass):
            with pytest.raises(BadImage) as caught:
                decode(data, RULES)
            assert (caught.value.error_class, table()[row]) == (right, f"`{right}`")
        else:
            assert table()[row].startswith("read")
            assert np.abs(decode(data, RULES).pixels.astype(int) - right).max() <= 2
