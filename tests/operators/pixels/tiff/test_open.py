"""What holds of a TIFF whoever reads it: size limits, orientation, profiles, damage; and what without the extra."""

import io
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image, ImageCms

from made.tiffs import ENCODERS, Directory, directory, subsampled, tiff, tiff_file
from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=1_000_000)
PHOTO = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((64, 48)))
KINDS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "Pillow": (PHOTO, {}),
    "libtiff": (PHOTO.astype(np.uint16) * 257, {"bits": 16, "planar": 2}),
    "tifffile": (PHOTO.astype(np.uint16) * 16, {"bits": 12}),
}


def made(kind: str, **more: Any) -> bytes:
    samples, options = KINDS[kind]
    return tiff(samples, **{"photometric": 2, **options, **more})


def written(image: np.ndarray, **options: Any) -> bytes:
    """By tifffile."""
    out = io.BytesIO()
    tifffile.imwrite(out, image, photometric="rgb", **options)
    return out.getvalue()


def failure(data: bytes, rules: DecodeRules = RULES) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(data, rules)
    return caught.value


COMPRESSIONS = [
    "zlib",
    "lzw",
    "packbits",
    "lzma",
    "zstd",
    "webp",
    "jpeg",
    "jpeg2000",
    "png",
    "jpegxl",
    "lerc",
    "deflate",
]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressions_are_read_in_either_byte_order_and_as_big_tiff(compression: str) -> None:
    """tifffile's own reading is the other value; Pillow 13 has not five of these, and no big-endian BigTIFF."""
    for order, big in product("<>", (False, True)):
        data = written(PHOTO, compression=compression, byteorder=order, bigtiff=big, rowsperstrip=16)
        right = tifffile.imread(io.BytesIO(data))
        assert np.abs(right.astype(int) - PHOTO).mean() < 8
        assert np.abs(decode(data, RULES).pixels.astype(int) - right).max() <= 2, (order, big)


def test_jpeg_of_12_bits_and_jpeg_in_planes() -> None:
    deep = written(PHOTO.astype(np.uint16) * 16, compression="jpeg", compressionargs={"level": 98, "bitspersample": 12})
    assert np.abs(decode(deep, RULES).pixels.astype(int) - PHOTO).mean() < 8
    planes = written(np.moveaxis(PHOTO, -1, 0), compression="jpeg", planarconfig="separate")
    assert np.abs(decode(planes, RULES).pixels.astype(int) - PHOTO).mean() < 4


def test_arrays_of_three_planes_as_tifffile_writes_them() -> None:
    """PlanarConfiguration 2 is its default for shape (3, height, width); Pillow makes noise of 16 bits."""
    planes = np.moveaxis(PHOTO, -1, 0)
    for array in (planes, planes.astype(np.uint16) * 257):
        for order, compression in product("<>", (None, "lzw")):
            np.testing.assert_array_equal(
                decode(written(array, byteorder=order, compression=compression), RULES).pixels, PHOTO
            )


@pytest.mark.parametrize("step", [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (1, 2)])
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_ycbcr_with_thinned_out_colour(step: tuple[int, int], compression: int) -> None:
    """TIFF 6.0, section 21: data units of Y and one Cb and Cr; the colours by Pillow's own conversion (JFIF)."""
    ycbcr = np.array(Image.fromarray(PHOTO).convert("YCbCr"))
    across, down = step
    thin = ycbcr.copy()
    thin[..., 1:] = np.repeat(np.repeat(ycbcr[::down, ::across, 1:], down, 0), across, 1)
    right = np.asarray(Image.frombytes("YCbCr", (64, 48), thin.tobytes()).convert("RGB"))
    for order in "<>":
        page = thinned(ycbcr, step, compression, order, {530: (3, step)})
        assert np.abs(decode(tiff_file([page], order=order), RULES).pixels.astype(int) - right).max() <= 2
    if step == (2, 2):  # the default, where no tag says
        page = thinned(ycbcr, step, compression, "<", {})
        assert np.abs(decode(tiff_file([page]), RULES).pixels.astype(int) - right).max() <= 2
        error = failure(tiff_file([thinned(ycbcr, step, compression, ">", {})], order=">", big=True))
        assert error.error_class is ErrorClass.UNSUPPORTED_FORMAT


def thinned(ycbcr: np.ndarray, step: tuple[int, int], compression: int, order: str, tags: dict[int, Any]) -> Directory:
    page = directory(ycbcr, photometric=6, compression=compression, order=order, tags=tags)
    page.chunks = [ENCODERS[compression](subsampled(ycbcr, *step))]
    return page


def test_ycbcr_jpeg_in_planes_is_converted_where_they_are_of_one_size() -> None:
    """Each plane is a greyscale JPEG; none converts the colours."""
    ycbcr = np.array(Image.fromarray(PHOTO).convert("YCbCr"))
    for order, big in product("<>", (False, True)):
        for step, refused in (((1, 1), False), ((2, 2), True)):
            page = directory(
                ycbcr, photometric=6, planar=2, compression=7, encode=bytes, order=order, tags={530: (3, step)}
            )
            page.chunks = [saved_jpeg(ycbcr[..., at]) for at in range(3)]
            data = tiff_file([page], order=order, big=big)
            if refused:
                assert failure(data).error_class is ErrorClass.UNSUPPORTED_FORMAT
            else:
                assert np.abs(decode(data, RULES).pixels.astype(int) - PHOTO).mean() < 3, (order, big)


def saved_jpeg(grey: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "JPEG", quality=98)
    return out.getvalue()


def test_ycbcr_of_bt709_and_of_video_range() -> None:
    """YCbCrCoefficients and ReferenceBlackWhite, by the formulas of TIFF 6.0."""
    y, cb, cr = 120.0, 150.0, 90.0
    stored = np.tile(np.array([y, cb, cr]).astype(np.uint8), (4, 4, 1))
    hd = {530: (3, [1, 1]), 529: (5, [(2126, 10000), (7152, 10000), (722, 10000)])}
    red, blue = y + (cr - 128) * 2 * (1 - 0.2126), y + (cb - 128) * 2 * (1 - 0.0722)
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    pixels = decode(tiff(stored, photometric=6, tags=hd), RULES).pixels
    assert np.abs(pixels[1, 1] - [red, green, blue]).max() < 2
    video = {530: (3, [1, 1]), 532: (5, [(16, 1), (235, 1), (128, 1), (240, 1), (128, 1), (240, 1)])}
    y, cb, cr = (y - 16) * 255 / 219, (cb - 128) * 127 / 112, (cr - 128) * 127 / 112
    red, blue = y + 1.402 * cr, y + 1.772 * cb
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    pixels = decode(tiff(stored, photometric=6, tags=video), RULES).pixels
    assert np.abs(pixels[1, 1] - [red, green, blue]).max() < 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_holds_whoever_reads(kind: str, orientation: int) -> None:
    data = made(kind, tags={274: (3, [orientation])})
    plain = tiff(PHOTO, photometric=2, tags={274: (3, [orientation])})
    for orient in (True, False):
        rules = DecodeRules(max_pixels=10**6, orient=orient)
        np.testing.assert_array_equal(decode(data, rules).pixels, decode(plain, rules).pixels)
    stored = decode(data, DecodeRules(max_pixels=10**6, orient=False)).pixels
    np.testing.assert_array_equal(stored, PHOTO)


@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_is_converted_whoever_reads(kind: str) -> None:
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = icc.index(b"rXYZ", 128), icc.index(b"gXYZ", 128)
    icc[red : red + 4], icc[green : green + 4] = b"gXYZ", b"rXYZ"  # red and green change places
    data = made(kind, tags={34675: (7, list(icc))})
    swapped = decode(data, RULES).pixels.astype(int)
    assert np.abs(swapped - PHOTO).max() > 100
    assert np.abs(swapped[..., [1, 0, 2]] - PHOTO).mean() < 3
    np.testing.assert_array_equal(decode(data, DecodeRules(max_pixels=10**6, colour="ignore")).pixels, PHOTO)


@pytest.mark.parametrize("kind", KINDS)
def test_limits_and_damage_have_their_classes_whoever_reads(kind: str) -> None:
    assert failure(made(kind), DecodeRules(max_pixels=3000)).error_class is ErrorClass.TOO_MANY_PIXELS
    huge = made(kind, tags={256: (4, [60_000]), 257: (4, [60_000])})
    assert failure(huge).error_class is ErrorClass.TOO_MANY_PIXELS
    samples, options = KINDS[kind]
    page = directory(samples, photometric=2, compression=8, **options)
    whole = tiff_file([page])
    late = whole[:8] + whole[-400:]  # the directory stays, and points past the end
    late = late[:4] + (int.from_bytes(whole[4:8], "little") - len(whole) + len(late)).to_bytes(4, "little") + late[8:]
    assert failure(late).error_class is ErrorClass.TRUNCATED
    assert failure(whole[: len(whole) // 2]).error_class is ErrorClass.TRUNCATED
    page.chunks = [b"\x55" * len(chunk) for chunk in page.chunks]
    assert failure(tiff_file([page])).error_class is ErrorClass.CORRUPT


def test_no_memory_is_taken_for_a_tile_far_larger_than_its_image() -> None:
    huge = {322: (4, [60_000]), 323: (4, [60_000])}
    error = failure(tiff(PHOTO, photometric=2, bits=12, compression=8, tile=(48, 64), tags=huge))
    assert error.error_class is ErrorClass.CORRUPT
    assert "tiles of 60000 x 60000 pixels" in str(error)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    error = failure(made("tifffile"))
    assert error.error_class is ErrorClass.UNSUPPORTED_FORMAT
    assert "pip install 'pixlake[tiff]'" in str(error)
    for kind in ("Pillow", "libtiff"):
        np.testing.assert_array_equal(decode(made(kind), RULES).pixels, PHOTO)
