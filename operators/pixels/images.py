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
from PIL import AvifImagePlugin, Image, ImageFile

from operators.base.errors import NEEDS_EXTRA, BadImage, ErrorClass
from operators.pixels.colour.bands import filled, rows_of
from operators.pixels.colour.icc import MAX_ICC_BYTES, needs_conversion, on_white, to_srgb
from operators.pixels.colour.profile import CODED, Coded
from operators.pixels.frames import first_frame, whiten_outside
from operators.pixels.headers.boxes import is_cut
from operators.pixels.headers.heif import Shown, shown
from operators.pixels.headers.jxl import jxl_header
from operators.pixels.jp2 import with_colours
from operators.pixels.jpeg.blocks import WHOLE, samples
from operators.pixels.jpeg.endings import continued
from operators.pixels.jpeg.plain import plain_size
from operators.pixels.jpeg.segments import ends_in_header, without_side_segments
from operators.pixels.jxl import decode_jxl
from operators.pixels.lean import LeanWebP, large_webp
from operators.pixels.png.read import colour_key, open_png
from operators.pixels.preprocess import Preprocess
from operators.pixels.resize_plan import Extent, shrunk_size, smallest_scale
from operators.pixels.sniff import DESCRIBED_BYTES, SNIFFED_BYTES, describe, sniff, webp_size, webp_total_bytes
from operators.pixels.unsupported import unsupported
from operators.pixels.upright import LYING, TURNS, UNDO, Turn, Upright, turned, whole

_PLUGINS = {
    "jpeg": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "webp": ("operators.pixels.lean", "LeanWebP"),
    "gif": ("PIL.GifImagePlugin", "GifImageFile"),
    "bmp": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "tiff": ("operators.pixels.tiff.open", "open_tiff"),
    "avif": ("operators.pixels.lean", "LeanAvif"),
    "heif": ("pillow_heif", "HeifImageFile"),
    "jp2": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
}
"""Format -> Pillow's module and class, or ours that gives such an image; PNG and JPEG XL are opened by themselves. They
are called one by one: `Image.open` would try its forty formats, and read MPO beside JPEG."""

_JPEG_SPACES = {"L": "GRAY", "RGB": "RGBX", "CMYK": "CMYK"}
"""Pillow's mode of a JPEG -> the space of samples as Pillow holds them."""

_ISO_MEDIA = ("avif", "heif")
_ORIENTATION = 0x0112
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
    shrink_for: tuple[Preprocess, ...] = ()
    """Where there are any, a JPEG may come smaller than it is, with pixels enough for each of these."""

    def scale(self, width: int, height: int) -> float:
        """How much of its size such a JPEG, upright, is decoded at."""
        return smallest_scale(height, width, self.shrink_for) if self.shrink_for else 1.0


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """`pixels` (H, W, 3) uint8 RGB, C-contiguous, of an image of `height` x `width`; `format` one of the lower-case
    names of `sniff`."""

    pixels: np.ndarray
    height: int
    width: int
    extent: Extent | None
    """Where the image lies in them, if it was decoded smaller than it is."""
    format: str


def decode(data: bytes | memoryview, rules: DecodeRules) -> Decoded:
    """The first frame, oriented, in sRGB, on white. Raises `BadImage`, and nothing else, whatever the bytes hold."""
    name = _accepted_format(data)
    with _as_bad_image(name, data):
        pixels, (height, width), extent = _pixels(name, data, rules)
        return Decoded(pixels=pixels, height=height, width=width, extent=extent, format=name)


def _pixels(name: str, data: bytes | memoryview, rules: DecodeRules) -> Upright:
    if name == "jxl":
        return _decode_jxl(bytes(data), rules)
    plain = _decode_plain_jpeg(data, rules) if name == "jpeg" else None
    return _decode_any(name, data, rules) if plain is None else plain


def _decode_jxl(data: bytes, rules: DecodeRules) -> Upright:
    header = jxl_header(data)
    _check_size(header.width, header.height, rules.max_pixels)
    image = decode_jxl(data)
    if isinstance(image, bytes):
        return _pixels("jpeg", image, rules)
    pixels = _in_srgb(image, _profile(image, rules))
    del image
    undo = None if rules.orient else TURNS.get(UNDO.get(header.orientation, 1))
    return whole(pixels if undo is None else np.ascontiguousarray(undo(pixels)))


def _decode_plain_jpeg(data: bytes | memoryview, rules: DecodeRules) -> Upright | None:
    """The pixels of a JPEG without metadata, as `_decode_any` gives them; None where that must do it."""
    size = None if rules.allow_truncated else plain_size(data)
    if size is None:
        return None
    _check_size(*size, rules.max_pixels)
    scale = rules.scale(*size)
    pixels = samples(data, "RGB", _least(*size, scale))
    return None if pixels is None else turned(pixels, *size, scale, None)


def _least(width: int, height: int, scale: float) -> tuple[int, int]:
    return WHOLE if scale == 1 else shrunk_size(height, width, scale)


def _decode_any(name: str, given: bytes | memoryview, rules: DecodeRules) -> Upright:
    """By Pillow. Of a large picture the file's bytes and the decoder's own pixels are let go of as early as can be."""
    with _pillow_lock, _truncation(rules.allow_truncated), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = bytes(given)
        if name == "webp":
            _check_webp(data, rules)
        image = _open(name, data)
        _check_size(*image.size, rules.max_pixels)
        properties = shown(data) if name in _ISO_MEDIA else Shown()
        stored = _orientation(image) if name == "tiff" else 1
        frame = first_frame(name, image, data)
        scale = _scale(image, rules) if name == "jpeg" else 1.0
        pixels = _decode_jpeg(image, data, rules, scale) if name == "jpeg" else None
        if isinstance(image, LeanWebP) and not rules.allow_truncated:
            pixels = _decode_large_webp(image, data, rules)
        if pixels is None:
            scale = 1.0
            if name == "jpeg" and not rules.allow_truncated:
                image = _with_every_block(image, data)
            band = _loaded(image, name, data, rules, properties)
            del data
            pixels = filled(*image.size, band)
            del band
        if frame is not None and frame != (0, 0, *image.size):
            pixels = whiten_outside(pixels, frame)
        turn = _turn(image, name, stored, rules.orient, properties)
        width, height = image.size
        del image
        return turned(pixels, width, height, scale, turn)


def _scale(image: ImageFile.ImageFile, rules: DecodeRules) -> float:
    """How much of its size a JPEG is decoded at. Pillow does it for none."""
    by_libjpeg = image.mode in _JPEG_SPACES and not rules.allow_truncated
    return rules.scale(*_upright(image, rules)) if by_libjpeg else 1.0


def _upright(image: ImageFile.ImageFile, rules: DecodeRules) -> tuple[int, int]:
    """(width, height) of a JPEG once it is turned."""
    width, height = image.size
    return (height, width) if rules.orient and _orientation(image) in LYING else (width, height)


def _accepted_format(data: bytes | memoryview) -> str:
    if not len(data):
        raise BadImage(ErrorClass.CORRUPT, "the object is empty (0 bytes)")
    name = sniff(bytes(data[:SNIFFED_BYTES]))
    if name is None:
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT,
            f"{describe(bytes(data[:DESCRIBED_BYTES]))}; images must be JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIF, "
            "JPEG 2000 or JPEG XL",
        )
    return name


def _open(name: str, data: bytes) -> ImageFile.ImageFile:
    """The image with its header read and no pixel decoded yet."""
    if name == "png":
        return open_png(data, MAX_ICC_BYTES)
    module_name, class_name = _PLUGINS[name]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise BadImage(ErrorClass.UNSUPPORTED_FORMAT, f"HEIF {NEEDS_EXTRA.format('heif')}") from error
    if name == "heif":
        module.options.DECODE_THREADS = 1
    if name == "jpeg":
        data = without_side_segments(data)
    image: ImageFile.ImageFile = getattr(module, class_name)(io.BytesIO(data))
    return with_colours(image, data) if name == "jp2" else image


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


def _decode_jpeg(image: ImageFile.ImageFile, data: bytes, rules: DecodeRules, scale: float) -> np.ndarray | None:
    """A JPEG's pixels through libjpeg-turbo, as they are stored; None where Pillow must decode it."""
    if rules.allow_truncated or image.mode not in _JPEG_SPACES:
        return None
    icc = _profile(image, rules)
    least = _least(*image.size, scale)
    if image.mode != "CMYK" and not needs_conversion(icc, image.mode):
        return samples(data, "RGB", least)
    stored = samples(data, _JPEG_SPACES[image.mode], least)
    if stored is None:
        return None
    if image.mode == "CMYK":  # Pillow takes every CMYK file for one of Adobe's, which hold the inverse
        np.invert(stored, out=stored)
    mode, layout = image.mode, "RGBX" if image.mode == "RGB" else image.mode

    height, width = stored.shape[:2]

    def band(top: int, bottom: int) -> np.ndarray:
        size = width, bottom - top
        return _srgb_pixels(Image.frombytes(mode, size, stored[top:bottom], "raw", layout), icc)

    return filled(width, height, band)


def _decode_large_webp(image: LeanWebP, data: bytes, rules: DecodeRules) -> np.ndarray | None:
    stored = large_webp(image, data)
    if stored is None:
        return None
    icc = _profile(image, rules)
    return filled(*image.size, lambda top, bottom: _srgb_pixels(Image.fromarray(stored[top:bottom]), icc))


def _with_every_block(image: ImageFile.ImageFile, data: bytes) -> ImageFile.ImageFile:
    """The image to decode in place of a JPEG of which Pillow would not say that blocks are missing. Raises `BadImage`
    where they are."""
    versions = continued(data)
    if versions is None:
        return image
    one, other = (_open("jpeg", version) for version in versions)
    one.load()
    other.load()
    if not _are_equal(one, other):
        raise BadImage(ErrorClass.TRUNCATED, "jpeg: blocks are missing at the end of a scan")
    return one


def _are_equal(one: Image.Image, other: Image.Image) -> bool:
    """Whether two images of one size and mode have the same pixels."""
    lines = range(0, one.height, 256)
    images = ([rows_of(image, top, min(top + 256, one.height)) for image in (one, other)] for top in lines)
    return all(np.array_equal(np.asarray(first), np.asarray(second)) for first, second in images)


def _loaded(
    image: ImageFile.ImageFile, name: str, data: bytes, rules: DecodeRules, properties: Shown
) -> Callable[[int, int], np.ndarray]:
    """Decode the image; what is given makes sRGB of its rows, from one up to another."""
    image.load()
    icc = _profile(image, rules)
    coded = image.info.get(CODED, properties.colours) if rules.colour == "srgb" else None
    keyed = colour_key(image, data) if name == "png" else None
    no_alpha = name == "bmp" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
    grey = properties.is_grey and image.mode == "RGBA"  # what the decoders of AVIF and HEIF make of grey with alpha

    def band(top: int, bottom: int) -> np.ndarray:
        rows = rows_of(image, top, bottom) if keyed is None else keyed(top, bottom)
        if no_alpha:
            rows = rows.convert("RGB")
        if grey:
            rows = Image.merge("LA", (rows.getchannel("R"), rows.getchannel("A")))
        return _srgb_pixels(_eight_bit(rows), icc, coded)

    return band


def _profile(image: Image.Image, rules: DecodeRules) -> bytes | None:
    icc = image.info.get("icc_profile") if rules.colour == "srgb" else None
    return icc if isinstance(icc, bytes) else None


def _in_srgb(image: Image.Image, icc: bytes | None) -> np.ndarray:
    return filled(*image.size, lambda top, bottom: _srgb_pixels(rows_of(image, top, bottom), icc))


def _srgb_pixels(image: Image.Image, icc: bytes | None, coded: Coded | None = None) -> np.ndarray:
    return np.asarray(on_white(to_srgb(image, icc, coded)))


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
        return image.convert("LA" if image.mode in ("LA", "L", "1") else "RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _sixteen_bit_grey(image: Image.Image) -> Image.Image:
    """The high byte of each sample, which Pillow itself takes from 16-bit RGB (`convert` would clip at 255)."""
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or it cannot be read."""
    for xmp in ("xmp", "XML:com.adobe.xmp"):  # Pillow would take the orientation from there
        image.info.pop(xmp, None)
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF is attacker text, and its reader raises whatever it trips over; the pixels are still good
        return 1
    return value if value in TURNS else 1


def _turn(image: Image.Image, name: str, stored: int, orient: bool, properties: Shown) -> Turn | None:
    """What is left to do after decoding. Pillow turns TIFF by itself, and pillow_heif HEIF: undone where not wanted."""
    if name == "tiff":
        return None if orient else TURNS.get(UNDO.get(stored, 1))
    if name == "avif":
        return lambda pixels: properties.turned(properties.cropped(pixels)) if orient else properties.cropped(pixels)
    if name == "heif":
        return None if orient else properties.turned_back
    return TURNS.get(_orientation(image)) if orient else None


@contextmanager
def _truncation(allowed: bool) -> Iterator[None]:
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = allowed
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


@contextmanager
def _as_bad_image(name: str, data: bytes | memoryview) -> Iterator[None]:
    """Turns every exception of a decoder into `BadImage`: on malformed bytes they raise nearly anything."""
    try:
        yield
    except BadImage:
        raise
    except MemoryError as error:
        raise BadImage(ErrorClass.DECODE_MEMORY, f"{name}: decoding needs more than memory_limit_bytes") from error
    except Exception as error:
        error_class = _class_of(error, data)
        what = unsupported(name, bytes(data), str(error)) if error_class is ErrorClass.CORRUPT else None
        if what is not None:
            raise BadImage(
                ErrorClass.UNSUPPORTED_FORMAT, f"{name} with {what}, which is not read; convert it, for example to PNG"
            ) from error
        raise BadImage(error_class, f"{name}: {type(error).__name__}: {error}") from error


def _class_of(error: Exception, data: bytes | memoryview) -> ErrorClass:
    if isinstance(error, Image.DecompressionBombError):
        return ErrorClass.TOO_MANY_PIXELS
    text = str(error).lower()
    if isinstance(error, EOFError) or any(words in text for words in ("truncated", "unexpected end", "premature end")):
        return ErrorClass.TRUNCATED
    # Their decoders call a file that ends early damaged, or without the boxes that would come next.
    if data[4:8] in (b"ftyp", b"jP  ", b"JXL ") and is_cut(memoryview(data)):
        return ErrorClass.TRUNCATED
    if data[:2] == b"\xff\xd8" and ends_in_header(bytes(data)):
        return ErrorClass.TRUNCATED
    return ErrorClass.CORRUPT
