"""Pure functions on image bytes: what format they are, what the header says, and their pixels as oriented sRGB."""

import importlib
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg
from PIL import AvifImagePlugin, Image, ImageFile

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.colour import needs_conversion, on_white, to_srgb
from operators.pixels.plain_jpeg import plain_size
from operators.pixels.sniff import SNIFFED_BYTES, describe, sniff, webp_size, webp_total_bytes

_PLUGINS = {
    "jpeg": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "png": ("PIL.PngImagePlugin", "PngImageFile"),
    "webp": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "gif": ("PIL.GifImagePlugin", "GifImageFile"),
    "bmp": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "tiff": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "avif": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "heif": ("pillow_heif", "HeifImageFile"),
}
"""Format -> Pillow's module and class. They are called one by one: `Image.open` would try its forty formats, and read
MPO beside JPEG."""

_ORIENTATION = 0x0112
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}
"""EXIF orientation -> the turn to an upright image (height, width, 3), as a view."""
_UNDO = {**{n: n for n in _TURNS}, 6: 8, 8: 6}

_pillow_lock = threading.Lock()
"""Held while Pillow decodes: whether it accepts truncated files is one flag for the whole process."""

AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@dataclass(frozen=True, kw_only=True)
class DecodeRules:
    """The rules that decide whether bytes become pixels, and which."""

    max_pixels: int
    allow_truncated: bool = False
    orient: bool = True
    colour: Literal["srgb", "ignore"] = "srgb"


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """`pixels` (height, width, 3) uint8 RGB, C-contiguous; `format` one of the lower-case names of `sniff`."""

    pixels: np.ndarray
    format: str


def decode(data: bytes | memoryview, rules: DecodeRules) -> Decoded:
    """The first frame, oriented, in sRGB, on white. Raises `BadImage`, and nothing else, whatever the bytes hold."""
    name = _accepted_format(bytes(data[:SNIFFED_BYTES]))
    with _as_bad_image(name):
        pixels = _decode_plain_jpeg(data, rules) if name == "jpeg" else None
        return Decoded(pixels=_decode_any(name, bytes(data), rules) if pixels is None else pixels, format=name)


def _decode_plain_jpeg(data: bytes | memoryview, rules: DecodeRules) -> np.ndarray | None:
    """The pixels of a JPEG without metadata, as `_decode_any` gives them; None where that must do it."""
    size = None if rules.allow_truncated else plain_size(data)
    if size is None:
        return None
    _check_size(*size, rules.max_pixels)
    return _decode_by_libjpeg(data)


def _decode_any(name: str, data: bytes, rules: DecodeRules) -> np.ndarray:
    with _pillow_lock, _truncation(rules.allow_truncated), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "webp":
            _check_webp(data, rules)
        image = _open(name, data)
        _check_size(*image.size, rules.max_pixels)
        stored = _orientation(image) if name == "tiff" else 1
        pixels = _decode_by_libjpeg(data) if name == "jpeg" and _is_libjpegs(image, rules) else None
        if pixels is None:
            pixels = np.asarray(_decode_with_pillow(image, rules))
        turn = _turn(image, name, stored, rules.orient)
        return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _accepted_format(data: bytes) -> str:
    if not data:
        raise BadImage(ErrorClass.CORRUPT, "the object is empty (0 bytes)")
    name = sniff(data)
    if name is None:
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT,
            f"{describe(data)}; images must be JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIF",
        )
    return name


def _open(name: str, data: bytes) -> ImageFile.ImageFile:
    """The image with its header read and no pixel decoded yet."""
    module_name, class_name = _PLUGINS[name]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT, "HEIF needs an extra package on the workers: pip install pixlake[heif]"
        ) from error
    if name == "heif":
        module.options.DECODE_THREADS = 1
    image: ImageFile.ImageFile = getattr(module, class_name)(io.BytesIO(data))
    return image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width <= 0 or height <= 0:
        raise BadImage(ErrorClass.CORRUPT, f"the header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise BadImage(
            ErrorClass.TOO_MANY_PIXELS, f"{width} x {height} pixels in the header, more than max_pixels = {max_pixels}"
        )


def _check_webp(data: bytes, rules: DecodeRules) -> None:
    """Check a WebP before Pillow opens it: its reader allocates two whole canvases while it reads the header."""
    size = webp_size(data)
    if size is not None:
        _check_size(*size, rules.max_pixels)
    if len(data) < webp_total_bytes(data) and not rules.allow_truncated:
        raise BadImage(ErrorClass.TRUNCATED, f"webp: {len(data)} bytes of {webp_total_bytes(data)}")


def _is_libjpegs(image: ImageFile.ImageFile, rules: DecodeRules) -> bool:
    """Whether libjpeg-turbo gives a JPEG's pixels as they are wanted: not of CMYK or with a profile to convert."""
    if image.mode not in ("L", "RGB") or rules.allow_truncated:
        return False
    return rules.colour != "srgb" or not needs_conversion(image.info.get("icc_profile"), image.mode)


def _decode_by_libjpeg(data: bytes | memoryview) -> np.ndarray | None:
    """Decode a greyscale or colour JPEG through libjpeg-turbo directly: pixel-equal to Pillow and 1.3 times as fast.

    None where Pillow must do it, since there is damage that libjpeg recovers from.
    """
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        if "premature end" in str(error).lower():
            raise BadImage(ErrorClass.TRUNCATED, f"jpeg: {error}") from error
        return None
    return pixels


def _decode_with_pillow(image: ImageFile.ImageFile, rules: DecodeRules) -> Image.Image:
    image.load()
    icc = image.info.get("icc_profile") if rules.colour == "srgb" else None
    return on_white(to_srgb(_eight_bit(image), icc if isinstance(icc, bytes) else None))


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in a mode of 8 bits a sample: L, RGB, CMYK, or LA and RGBA where it has any transparency."""
    if image.mode.startswith("I;16"):
        return _sixteen_bit_grey(image)
    if image.mode in ("I", "F"):
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT,
            "32-bit samples, whose range of black to white no header gives; store it with 8 or 16 bits a sample",
        )
    if image.mode in ("PA", "La", "RGBa") or image.has_transparency_data:
        return image.convert("LA" if image.mode == "LA" else "RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _sixteen_bit_grey(image: Image.Image) -> Image.Image:
    """The high byte of each sample, which Pillow itself takes from 16-bit RGB (`convert` would clip at 255)."""
    samples = np.asarray(image)
    grey = Image.fromarray((samples >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    grey.putalpha(Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8)))
    return grey


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or it cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF is attacker text, and its reader raises whatever it trips over; the pixels are still good
        return 1
    return value if value in _TURNS else 1


def _turn(image: Image.Image, name: str, stored: int, orient: bool) -> Callable[[np.ndarray], np.ndarray] | None:
    """The turn left to do after decoding. Pillow turns TIFF by itself, so there it is undone where it is not wanted."""
    if name == "tiff":
        return None if orient else _TURNS.get(_UNDO.get(stored, 1))
    return _TURNS.get(_orientation(image)) if orient else None


@contextmanager
def _truncation(allowed: bool) -> Iterator[None]:
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = allowed
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


@contextmanager
def _as_bad_image(name: str) -> Iterator[None]:
    """Turns every exception of a decoder into `BadImage`: on malformed bytes they raise nearly anything."""
    try:
        yield
    except BadImage:
        raise
    except MemoryError as error:
        raise BadImage(ErrorClass.DECODER_CRASH, f"{name}: decoding needs more than memory_limit_bytes") from error
    except Exception as error:
        raise BadImage(_class_of(error), f"{name}: {type(error).__name__}: {error}") from error


def _class_of(error: Exception) -> ErrorClass:
    if isinstance(error, Image.DecompressionBombError):
        return ErrorClass.TOO_MANY_PIXELS
    text = str(error).lower()
    if isinstance(error, EOFError) or any(words in text for words in ("truncated", "unexpected end", "premature end")):
        return ErrorClass.TRUNCATED
    return ErrorClass.CORRUPT
