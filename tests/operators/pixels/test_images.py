"""Every format, by content, to the right pixels; and every refusal with its class."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageCms, PngImagePlugin

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode
from operators.pixels.sniff import sniff

RULES = DecodeRules(max_pixels=1_000_000)
PHOTO = Image.fromarray(skimage.data.astronaut()).resize((90, 60))
PIXELS = np.asarray(PHOTO)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def pixels_of(data: bytes, rules: DecodeRules = RULES) -> np.ndarray:
    return decode(data, rules).pixels


def refusal(data: bytes, rules: DecodeRules = RULES) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(data, rules)
    return caught.value


@pytest.mark.parametrize(
    ("name", "format", "options"),
    [
        ("png", "PNG", {}),
        ("webp", "WEBP", {"lossless": True}),
        ("bmp", "BMP", {}),
        ("tiff", "TIFF", {}),
        ("tiff", "TIFF", {"compression": "tiff_lzw"}),
        ("tiff", "TIFF", {"big_tiff": True}),
    ],
)
def test_lossless_formats_come_back_as_they_were(name: str, format: str, options: dict[str, Any]) -> None:
    decoded = decode(saved(PHOTO, format, **options), RULES)
    assert decoded.format == name
    np.testing.assert_array_equal(decoded.pixels, PIXELS)


def test_avif_heif_and_gif() -> None:
    avif = decode(saved(PHOTO, "AVIF", quality=95), RULES)
    assert avif.format == "avif"
    assert np.abs(avif.pixels.astype(int) - PIXELS).mean() < 4
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(PHOTO).save(out, quality=95)
    heif = decode(out.getvalue(), RULES)
    assert heif.format == "heif"
    assert np.abs(heif.pixels.astype(int) - PIXELS).mean() < 4
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    gif = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), RULES)
    assert (gif.format, gif.pixels[3, 3].tolist()) == ("gif", [255, 0, 0])


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_fast_jpeg_path_is_pixel_equal_to_pillow(mode: str, subsampling: str, progressive: bool) -> None:
    for size in ((90, 60), (17, 31), (1, 1), (333, 222)):
        image = PHOTO.resize(size).convert(mode)
        data = saved(image, "JPEG", subsampling=subsampling, progressive=progressive, quality=80)
        np.testing.assert_array_equal(pixels_of(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_jpeg_stored_as_rgb_and_as_cmyk() -> None:
    rgb = saved(PHOTO, "JPEG", keep_rgb=True, quality=95)
    np.testing.assert_array_equal(pixels_of(rgb), np.asarray(Image.open(io.BytesIO(rgb)).convert("RGB")))
    cmyk = saved(PHOTO.convert("CMYK"), "JPEG", quality=98)
    assert b"Adobe" in cmyk  # inverted, as Adobe writes it
    assert np.abs(pixels_of(cmyk).astype(int) - PIXELS).mean() < 3


def test_an_mpo_file_is_its_first_jpeg() -> None:
    data = saved(PHOTO, "MPO", save_all=True, append_images=[Image.new("RGB", (90, 60), "blue")], quality=95)
    decoded = decode(data, RULES)
    assert decoded.format == "jpeg"
    np.testing.assert_array_equal(decoded.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_png_palettes_transparency_and_depths() -> None:
    np.testing.assert_array_equal(
        pixels_of(saved(PHOTO.quantize(64), "PNG")), np.asarray(PHOTO.quantize(64).convert("RGB"))
    )
    bilevel = PHOTO.convert("1")
    np.testing.assert_array_equal(pixels_of(saved(bilevel, "PNG")), np.asarray(bilevel.convert("RGB")))
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert pixels_of(saved(palette, "PNG", transparency=1)).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert pixels_of(saved(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG", transparency=(9, 8, 7))).max() == 255
    grey = Image.fromarray(np.array([[0, 256, 40000, 65535]], np.uint16))
    assert pixels_of(saved(grey, "PNG"))[0, :, 0].tolist() == [0, 1, 156, 255]
    assert pixels_of(saved(grey, "TIFF"))[0, :, 2].tolist() == [0, 1, 156, 255]


def test_16_bit_rgb_and_interlaced_png() -> None:
    samples = np.array([[[0, 256, 65535], [40000, 511, 3]]], ">u2")
    deep = _png(2, 1, depth=16, colour=2, rows=[b"\0" + samples[0].tobytes()])
    assert pixels_of(deep).tolist() == [[[0, 1, 255], [156, 1, 0]]]
    interlaced = _png(1, 1, depth=8, colour=2, rows=[b"\0\x0a\x14\x1e"], interlace=1)
    assert pixels_of(interlaced).tolist() == [[[10, 20, 30]]]


def _png(width: int, height: int, *, depth: int, colour: int, rows: list[bytes], interlace: int = 0) -> bytes:
    import zlib

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(format: str) -> None:
    image = Image.new("RGBA", (2, 1), (200, 100, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    assert pixels_of(saved(image, format, **options)).tolist() == [[[200, 100, 0], [127, 127, 127]]]


def test_grey_with_alpha_is_laid_on_white() -> None:
    assert pixels_of(saved(Image.new("LA", (1, 1), (0, 0)), "PNG")).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation(orientation: int, format: str) -> None:
    """A picture with four coloured corners, stored turned, comes back upright; its size is the upright one."""
    upright = np.zeros((32, 64, 3), np.uint8)
    for (y, x), colour in {(0, 0): (250, 0, 0), (0, 32): (0, 250, 0), (16, 0): (0, 0, 250)}.items():
        upright[y : y + 16, x : x + 32] = colour
    undo = {1: "1", 2: "2", 3: "3", 4: "4", 5: "5", 6: "8", 7: "7", 8: "6"}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(_turned(upright, int(undo)))
    data = saved(stored, format, exif=exif.tobytes() if format != "TIFF" else exif)
    got = pixels_of(data)
    assert got.shape == upright.shape
    for y, x in ((5, 10), (5, 50), (25, 10), (25, 50)):
        assert np.abs(got[y, x].astype(int) - upright[y, x]).max() < 25
    plain = pixels_of(data, DecodeRules(max_pixels=10**6, orient=False))
    if format != "AVIF":  # AVIF files hold the turn as a property of the image, which the decoder reports as EXIF
        assert plain.shape == np.asarray(stored).shape
        assert np.abs(plain[5, 10].astype(int) - np.asarray(stored)[5, 10]).max() < 25


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """By the definition in the EXIF standard: where row 0 and column 0 of the stored picture are."""
    flips = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}
    transposed = pixels.transpose(1, 0, 2)
    flips |= {5: transposed, 6: transposed[:, ::-1], 7: transposed[::-1, ::-1], 8: transposed[::-1]}
    return np.ascontiguousarray(flips[orientation])


def test_unreadable_exif_is_ignored() -> None:
    np.testing.assert_array_equal(pixels_of(saved(PHOTO, "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")), PIXELS)


def test_an_srgb_profile_leaves_the_pixels_alone() -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(pixels_of(saved(PHOTO, "PNG", icc_profile=icc)), PIXELS)
    with_it, without = (saved(PHOTO, "JPEG", quality=95, icc_profile=profile) for profile in (icc, None))
    np.testing.assert_array_equal(pixels_of(with_it), pixels_of(without))


def _swapped_profile() -> bytes:
    """sRGB with red and green changing places: wrong colours are easy to tell."""
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", icc, 128)[0]
    places = {bytes(icc[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    icc[red : red + 4], icc[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(icc)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_another_profile_is_converted(format: str) -> None:
    data = saved(Image.new("RGB", (16, 16), (250, 0, 0)), format, icc_profile=_swapped_profile())
    assert pixels_of(data)[8, 8].tolist()[1] > 240
    assert pixels_of(data)[8, 8].tolist()[0] < 15
    assert pixels_of(data, DecodeRules(max_pixels=10**6, colour="ignore"))[8, 8].tolist()[0] > 240


def test_alpha_survives_the_conversion_of_colours() -> None:
    image = Image.new("RGBA", (1, 1), (250, 0, 0, 0))
    assert pixels_of(saved(image, "PNG", icc_profile=_swapped_profile())).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize(
    "icc", [b"nonsense" * 20, b"\0" * 16 + b"RGB " + b"\0" * 200, b"\0" * 16 + b"CMYK" + b"\0" * 99]
)
def test_a_broken_profile_is_ignored(icc: bytes) -> None:
    np.testing.assert_array_equal(pixels_of(saved(PHOTO, "PNG", icc_profile=icc)), PIXELS)


def test_the_pixel_limit_is_checked_on_the_header() -> None:
    for data in (
        _png(30_000, 30_000, depth=8, colour=2, rows=[b""]),
        saved(Image.new("1", (2000, 1000)), "BMP"),
        saved(Image.new("L", (2000, 1000)), "JPEG"),
        saved(Image.new("RGB", (2000, 1000)), "WEBP"),
        saved(Image.new("RGB", (2000, 1000)), "WEBP", lossless=True),
        saved(Image.new("RGBA", (2000, 1000)), "WEBP"),
    ):
        error = refusal(data)
        assert error.error_class is ErrorClass.TOO_MANY_PIXELS
        assert "max_pixels = 1000000" in str(error)


def test_truncated_files_fail_unless_allowed() -> None:
    lenient = DecodeRules(max_pixels=10**6, allow_truncated=True)
    for format in ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP"):
        whole = saved(PHOTO, format)
        cut = whole[: len(whole) * 2 // 3]
        assert refusal(cut).error_class is ErrorClass.TRUNCATED, format
        if format in ("JPEG", "PNG", "BMP"):
            assert pixels_of(cut, lenient).shape == PIXELS.shape
    jpeg = saved(PHOTO, "JPEG")
    assert refusal(jpeg[: len(jpeg) // 2] + b"\xff\xd9").error_class is ErrorClass.TRUNCATED
    assert pixels_of(jpeg[: len(jpeg) // 2] + b"\xff\xd9", lenient).shape == PIXELS.shape


def test_damage_and_emptiness_are_corrupt() -> None:
    assert "empty (0 bytes)" in str(refusal(b""))
    assert refusal(b"").error_class is ErrorClass.CORRUPT
    png = bytearray(saved(PHOTO, "PNG"))
    png[40:60] = b"\0" * 20
    assert refusal(bytes(png)).error_class is ErrorClass.CORRUPT
    assert refusal(b"\xff\xd8\xff" + b"\0" * 100).error_class is ErrorClass.CORRUPT


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"%PDF-1.7 ...", "this is a PDF"),
        (b"%!PS-Adobe-3.0 EPSF", "EPS"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\1\0\1\0", "ICO"),
        (b"\n <!DOCTYPE html><p>Not found", "HTML"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"hello world, this is text", "68 65 6c 6c 6f"),
    ],
)
def test_everything_else_is_refused_with_what_it_is(data: bytes, says: str) -> None:
    error = refusal(data)
    assert error.error_class is ErrorClass.UNSUPPORTED_FORMAT
    assert says in str(error)


def test_samples_without_a_range_are_refused() -> None:
    data = saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    assert refusal(data).error_class is ErrorClass.UNSUPPORTED_FORMAT


def test_heif_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    error = refusal(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert error.error_class is ErrorClass.UNSUPPORTED_FORMAT
    assert "pip install 'pixlake[heif]'" in str(error)


def test_sniffing_goes_by_content() -> None:
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf") == "avif"
    assert sniff(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic") == "heif"
    assert sniff(b"\0\0\0\x18ftypisom\0\0\0\0isommp42") is None
    assert sniff(b"BMW is a car and no bitmap") is None


def test_text_chunks_do_not_matter() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", "x" * 1000)
    np.testing.assert_array_equal(pixels_of(saved(PHOTO, "PNG", pnginfo=info)), PIXELS)
