"""The table of `docs/images.md`: each of its rows is made from arrays by code, and ends as the row says.

Right pixels are the arrays that a file was made from, as its specification reads them. libvips 8.18.7 gave the same for
the colour keys and for the WebP whose frame is smaller than its canvas, on 2026-11-29.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  # lets Pillow write the format
import pytest
from PIL import Image

from made.files import with_property
from made.image_files import PNG_SIGNATURE, animated_webp, bmp, gif, lossless_jpeg, png, png_chunk
from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode

PAGE = Path(__file__).parents[3] / "docs" / "images.md"
RULES = DecodeRules(max_pixels=1_000_000)
Y, X = np.mgrid[:24, :32]
SMOOTH = np.stack([Y * 8, X * 7, 255 - Y * 4 - X * 2], axis=2).astype(np.uint8)
"""(24, 32, 3): colours that change slowly, so that lossy files are within a few levels of them."""
LOSSY = ("jpeg", "webp", "avif", "heif", "jxl")
GREY = np.repeat(SMOOTH[..., :1], 3, axis=2)
WHITE = 255
PALETTE = bytes([200, 0, 0, 0, 200, 0, 0, 0, 200, 10, 10, 10])


def saved(pixels: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, format, **options)
    return out.getvalue()


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    return saved(Image.fromarray(SMOOTH).convert(mode), "JPEG", quality=98, subsampling="4:4:4", **options)


def heif_coded_as(codec: bytes) -> bytes:
    """The container alone (ISO 14496-12), whose one item is coded as `codec`."""
    infe = b"\2\0\0\0\0\1\0\0" + codec + b"\0"
    boxes = box(b"hdlr", bytes(8) + b"pict" + bytes(13)) + box(b"pitm", b"\0\0\0\0\0\1")
    boxes += box(b"iinf", b"\0\0\0\0\0\1" + box(b"infe", infe))
    return box(b"ftyp", b"mif1\0\0\0\0mif1") + box(b"meta", bytes(4) + boxes)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def whitened(left: int, top: int, width: int, height: int, canvas: tuple[int, int], colour: Any) -> np.ndarray:
    pixels = np.full((canvas[1], canvas[0], 3), WHITE, np.uint8)
    pixels[top : top + height, left : left + width] = colour
    return pixels


def rows_of_bmp(pixels: np.ndarray) -> bytes:
    return np.ascontiguousarray(pixels[::-1, :, ::-1]).tobytes()


KEYED = np.where((SMOOTH[3, 5] == SMOOTH).all(axis=2, keepdims=True), WHITE, SMOOTH)
DEEP = SMOOTH.astype(np.uint16) << 8 | 0x37
SAMPLES_4 = (np.arange(24).reshape(4, 6) % 16).astype(np.uint8)
KEY = b"".join(int(value).to_bytes(2, "big") for value in SMOOTH[3, 5])
DEEP_KEY = b"".join(int(value).to_bytes(2, "big") for value in DEEP[3, 5])

P3_RED = np.full((24, 32, 3), (234, 51, 35), np.uint8)
SRGB_RED = np.full((24, 32, 3), (255, 0, 0), np.uint8)
"""CSS Color 4: color(display-p3 0.9175 0.2003 0.1386) is #f00."""


def avif(pixels: np.ndarray = SMOOTH, primaries: int = 1) -> bytes:
    return saved(pixels, "AVIF", quality=98, subsampling="4:4:4").replace(b"nclx\0\1", b"nclx\0" + bytes([primaries]))


def heic(pixels: np.ndarray = SMOOTH, **options: Any) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(out, quality=98, chroma=444, **options)
    return out.getvalue()


def with_colours(jp2: bytes, number: int) -> bytes:
    """Another number of enumerated colours (15444-1, I.5.3.3) in place of sRGB's."""
    return jp2.replace(b"colr\1\0\0\0\0\0\x10", b"colr\1\0\0" + struct.pack(">I", number))


Made = tuple[Callable[[], bytes], np.ndarray | ErrorClass]
ROWS: dict[tuple[str, str], list[Made]] = {
    ("jpeg", "baseline or progressive, colour or greyscale, 8 bits a sample"): [
        (lambda: jpeg(), SMOOTH),
        (lambda: jpeg(progressive=True), SMOOTH),
        (lambda: saved(SMOOTH[..., 0], "JPEG", quality=98), GREY),
    ],
    ("jpeg", "lossless, 8 bits a sample"): [(lambda: lossless_jpeg(SMOOTH[..., 0], 8), GREY)],
    ("jpeg", "CMYK, YCCK"): [(lambda: jpeg("CMYK"), SMOOTH)],
    ("jpeg", "the last marker is missing"): [
        (lambda: jpeg()[:-2], SMOOTH),
        (lambda: jpeg("CMYK", progressive=True)[:-2], SMOOTH),
    ],
    ("jpeg", "blocks are missing, with a last marker or without"): [
        (lambda: jpeg()[:-40], ErrorClass.TRUNCATED),
        (lambda: jpeg("CMYK")[:-40] + b"\xff\xd9", ErrorClass.TRUNCATED),
    ],
    ("jpeg", "12 or 16 bits a sample, hierarchical, JPEG-LS"): [
        (lambda: lossless_jpeg(SMOOTH[..., 0].astype(int) * 16, 12), ErrorClass.UNSUPPORTED_FORMAT),
        (lambda: lossless_jpeg(SMOOTH[..., 0].astype(int) * 256, 16), ErrorClass.UNSUPPORTED_FORMAT),
        (lambda: lossless_jpeg(SMOOTH[..., 0], 8).replace(b"\xff\xc3", b"\xff\xc5"), ErrorClass.UNSUPPORTED_FORMAT),
        (lambda: lossless_jpeg(SMOOTH[..., 0], 8).replace(b"\xff\xc3", b"\xff\xf7"), ErrorClass.UNSUPPORTED_FORMAT),
    ],
    ("png", "greyscale of 1 to 16 bits, colour of 8 and 16, palettes, alpha"): [
        (lambda: png(SAMPLES_4, 4, 0), np.repeat(SAMPLES_4[..., None] * 17, 3, axis=2)),
        (lambda: png(SMOOTH, 8, 2), SMOOTH),
        (lambda: png(DEEP, 16, 2), SMOOTH),
        (lambda: png(DEEP[..., 0], 16, 0), GREY),
        (lambda: png(np.dstack([SMOOTH, np.zeros((24, 32))]), 8, 6), np.full_like(SMOOTH, WHITE)),
    ],
    ("png", "a colour key (tRNS), at any depth"): [
        (lambda: png(SMOOTH, 8, 2, png_chunk(b"tRNS", KEY)), KEYED),
        (lambda: png(DEEP, 16, 2, png_chunk(b"tRNS", DEEP_KEY)), KEYED),
    ],
    ("png", "side chunks with a wrong checksum or length, or too large"): [
        (lambda: png(SMOOTH, 8, 2, png_chunk(b"iCCP", b"x\0\0x", right=False) + png_chunk(b"pHYs", b"")), SMOOTH),
    ],
    ("png", "the pixels end early"): [(lambda: png(SMOOTH, 8, 2)[:200], ErrorClass.TRUNCATED)],
    ("png", "a wrong checksum of IHDR or PLTE"): [
        (lambda: png(SMOOTH, 8, 2).replace(b"\0\0\0\x20\0\0\0\x18", b"\0\0\0\x18\0\0\0\x20"), ErrorClass.CORRUPT),
    ],
    ("png", "Apple's own variant for apps (CgBI)"): [
        (
            lambda: PNG_SIGNATURE + png_chunk(b"CgBI", b"P\0 \6") + png(SMOOTH, 8, 2).removeprefix(PNG_SIGNATURE),
            ErrorClass.UNSUPPORTED_FORMAT,
        ),
    ],
    ("gif", "a first frame smaller than the canvas"): [
        (lambda: gif((8, 6), (2, 1, 3, 2), PALETTE, 2), whitened(2, 1, 3, 2, (8, 6), (0, 200, 0))),
    ],
    ("webp", "lossy or lossless, alpha"): [
        (lambda: saved(SMOOTH, "WEBP", lossless=True), SMOOTH),
        (lambda: saved(SMOOTH, "WEBP", quality=100), SMOOTH),
    ],
    ("webp", "a first frame smaller than the canvas, with the alpha flag or without"): [
        (
            lambda: animated_webp((40, 30), (4, 2, 32, 24), saved(SMOOTH, "WEBP", lossless=True), alpha=False),
            whitened(4, 2, 32, 24, (40, 30), SMOOTH),
        ),
    ],
    ("bmp", "1, 4, 8, 16, 24 and 32 bits a pixel"): [
        (lambda: bmp(rows_of_bmp(SMOOTH), (32, 24), 24), SMOOTH),
        (lambda: saved(SMOOTH[..., 0], "BMP"), GREY),
    ],
    ("bmp", "32 bits a pixel, alpha 0 everywhere"): [
        (
            lambda: bmp(
                np.dstack([SMOOTH[::-1, :, ::-1], np.zeros((24, 32), np.uint8)]).tobytes(),
                (32, 24), 32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
            ),
            SMOOTH,
        ),
    ],
    ("bmp", "10 bits a colour and other bit fields; 2 or 64 bits a pixel; a JPEG or PNG inside"): [
        (lambda: bmp(bytes(4), (1, 1), 32, (0x3FF00000, 0xFFC00, 0x3FF)), ErrorClass.UNSUPPORTED_FORMAT),
        (lambda: bmp(bytes(8), (1, 1), 64), ErrorClass.UNSUPPORTED_FORMAT),
        (lambda: bmp(png(SMOOTH, 8, 2), (32, 24), 0, method=5), ErrorClass.UNSUPPORTED_FORMAT),
    ],
    ("heif", "pictures coded as AV1, VVC, AVC, JPEG, JPEG 2000 or not at all"): [
        (lambda codec=codec: heif_coded_as(codec), ErrorClass.UNSUPPORTED_FORMAT)  # type: ignore[misc]
        for codec in (b"av01", b"vvc1", b"avc1", b"jpeg", b"j2k1", b"unci")
    ],
    ("heif", "pictures coded as HEVC, colour or greyscale"): [(heic, SMOOTH), (lambda: heic(SMOOTH[..., 0]), GREY)],
    ("heif", "the file ends early"): [
        (lambda: heic()[:20], ErrorClass.TRUNCATED),
        (lambda: heic()[:100], ErrorClass.TRUNCATED),
        (lambda: heic()[:-1], ErrorClass.TRUNCATED),
    ],
    ("heif", "Display P3, BT.2020, PQ or HLG by nclx"): [
        (lambda: heic(P3_RED, color_primaries=12, transfer_characteristics=13), SRGB_RED),
    ],
    ("avif", "colour or greyscale, alpha"): [
        (avif, SMOOTH),
        (lambda: avif(SMOOTH[..., 0]), GREY),
        (lambda: avif(np.dstack([SMOOTH, np.zeros((24, 32), np.uint8)])), np.full_like(SMOOTH, WHITE)),
    ],
    ("avif", "a clean aperture, turns (irot, imir)"): [
        (lambda: with_property(avif(), b"clap", struct.pack(">8I", 16, 1, 12, 1, 0, 1, 0, 1)), SMOOTH[6:18, 8:24]),
        (lambda: with_property(avif(), b"irot", b"\1"), np.rot90(SMOOTH)),
        (lambda: with_property(avif(), b"imir", b"\1"), SMOOTH[:, ::-1]),
    ],
    ("avif", "the file ends early"): [
        (lambda: avif()[:40], ErrorClass.TRUNCATED),
        (lambda: avif()[:300], ErrorClass.TRUNCATED),
        (lambda: avif()[: len(avif()) // 2], ErrorClass.TRUNCATED),
        (lambda: avif()[:-1], ErrorClass.TRUNCATED),
    ],
    ("avif", "Display P3, BT.2020, PQ or HLG by nclx"): [(lambda: avif(P3_RED, 12), SRGB_RED)],
    ("jp2", "in boxes or a bare codestream; colour of 8 bits, greyscale of 8 and 16, alpha, CMYK"): [
        (lambda: saved(SMOOTH, "JPEG2000"), SMOOTH),
        (lambda: saved(SMOOTH, "JPEG2000", no_jp2=True), SMOOTH),
        (lambda: saved(DEEP[..., 0], "JPEG2000"), GREY),
        (lambda: saved(np.dstack([SMOOTH, np.zeros_like(SMOOTH[..., :1])]), "JPEG2000"), np.full_like(SMOOTH, WHITE)),
        (lambda: saved(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG2000"), SMOOTH),
    ],
    ("jp2", "CIELab, ROMM-RGB, YCbCr and other colours, without an ICC profile"): [
        (lambda: with_colours(saved(SMOOTH, "JPEG2000"), 14), ErrorClass.UNSUPPORTED_FORMAT),
        (lambda: with_colours(saved(SMOOTH, "JPEG2000"), 21), ErrorClass.UNSUPPORTED_FORMAT),
    ],
    ("jp2", "the end of the codestream is missing"): [
        (lambda: saved(SMOOTH, "JPEG2000")[:-30], ErrorClass.TRUNCATED),
    ],
    ("jxl", "lossy or lossless, colour or greyscale, alpha"): [
        (lambda: saved(SMOOTH, "JXL", lossless=True), SMOOTH),
        (lambda: saved(SMOOTH, "JXL", quality=98), SMOOTH),
        (lambda: saved(SMOOTH[..., 0], "JXL", lossless=True), GREY),
        (lambda: saved(np.dstack([SMOOTH, np.zeros_like(SMOOTH[..., :1])]), "JXL"), np.full_like(SMOOTH, WHITE)),
    ],
    ("jxl", "greyscale in floating point"): [
        (lambda: saved(np.ones((8, 8), np.float32), "JXL"), ErrorClass.UNSUPPORTED_FORMAT),
    ],
    ("jxl", "a file in boxes, cut short"): [
        (lambda: saved(SMOOTH, "JXL", use_container=True)[:-1], ErrorClass.TRUNCATED),
    ],
    ("jxl", "a bare codestream, cut short"): [(lambda: saved(SMOOTH, "JXL")[:-40], ErrorClass.CORRUPT)],
}  # fmt: skip


def table() -> dict[tuple[str, str], str]:
    """(format, file) -> what comes of it, as the page says."""
    section = PAGE.read_text().partition("## What is read, and what is refused\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {(format.strip("`"), file): result for format, file, result in lines[2:]}


def test_the_page_has_these_rows_and_no_others_of_their_formats() -> None:
    formats = {format for format, _ in ROWS}
    assert {row for row in table() if row[0] in formats} == set(ROWS)


@pytest.mark.parametrize(
    ("row", "made", "right"), [(row, made, right) for row, files in ROWS.items() for made, right in files]
)
def test_a_file_ends_as_its_row_says(row: tuple[str, str], made: Callable[[], bytes], right: Any) -> None:
    result = table()[row]
    if isinstance(right, ErrorClass):
        with pytest.raises(BadImage) as caught:
            decode(made(), RULES)
        assert (caught.value.error_class, result) == (right, f"`{right}`")
    else:
        decoded = decode(made(), RULES)
        assert decoded.format == row[0]
        assert "read" in result
        assert decoded.pixels.shape == right.shape
        assert np.abs(decoded.pixels.astype(int) - right).max() <= (12 if row[0] in LOSSY else 0)
