"""Who reads a TIFF rightly: Pillow by itself, Pillow through libtiff, or tifffile; what nobody does is refused by name.

Read off files of every combination of the tags (`tests/operators/pixels/tiff/`). Whatever Pillow 13 gets right it
keeps, so that its vectors stay as they are.
"""

from enum import Enum

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.tiff.directory import CHANNELS, UNSAID, Page

Keys = frozenset[tuple[int, tuple[int, ...]]]
"""(PhotometricInterpretation, what each sample beyond the colour is)."""

_FEW_BITS: Keys = frozenset({(0, ()), (1, ()), (3, ())})
_EIGHT_BITS: Keys = frozenset(
    {
        *((0, ()), (1, ()), (1, (0,)), (1, (2,)), (3, ()), (3, (0,)), (3, (2,)), (8, ())),
        *((2, ()), *((2, (0,) * count) for count in (1, 2, 3))),
        *((2, (alpha,) + (0,) * count) for alpha in (1, 2) for count in (0, 1, 2)),
        *((5, ()), (5, (0,)), (5, (0, 0)), (6, ())),
    }
)
_SIXTEEN_BITS: Keys = frozenset({(1, ()), (2, ()), (2, (0,)), (2, (1,)), (2, (2,)), (5, ())})
_PLANES_OF_8: Keys = frozenset({(2, ()), (2, (2,)), (5, ())})
_PLANES_OF_LIBTIFF: Keys = frozenset({(1, (0,)), (2, ()), (2, (0,)), (2, (1,)), (2, (2,)), (5, ()), (5, (0,))})

_OLD_JPEG, _JPEG = 6, 7
_LIBTIFFS = frozenset({1, 2, 3, 4, 5, _OLD_JPEG, _JPEG, 8, 32771, 32773, 32809, 32946, 34925, 50000})
"""Compressions that are built into Pillow's libtiff."""
_TIFFFILES = frozenset({1, 5, _JPEG, 8, 32773, 32946, 34712, 34887, 34925, 34933, 50000, 50001, 50002})
_COMPRESSIONS = {
    **{2: "CCITT RLE", 3: "CCITT Group 3", 4: "CCITT Group 4", 5: "LZW", _OLD_JPEG: "old-style JPEG", _JPEG: "JPEG"},
    **{
        32766: "NeXT",
        32809: "ThunderScan",
        34661: "JBIG",
        34676: "SGI LogLuv",
        34677: "SGI LogLuv",
        34712: "JPEG 2000",
    },
    **{33003: "Aperio's JPEG 2000", 33005: "Aperio's JPEG 2000", 34887: "LERC", 34892: "lossy JPEG of DNG"},
    **{34933: "PNG", 34934: "JPEG XR", 22610: "JPEG XR", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"},
}
_PREDICTED = frozenset({5, 8, 32946, 34925, 50000})
"""Compressions with a predictor (the difference to the left sample)."""
_COLOURS = {
    **{4: "a transparency mask", 10: "ITU L*a*b*", 32844: "CIE Log2(L)", 32845: "CIE Log2(L) (u', v')"},
    **{51177: "a depth map", 52527: "a semantic mask", UNSAID: "not said (no PhotometricInterpretation)"},
}
_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_MOST_SAMPLES = 8


class Reader(Enum):
    """Who reads a page."""

    PILLOW = "pillow"
    LIBTIFF = "libtiff"
    """Pillow, which unpacks what is not compressed by itself otherwise."""
    TIFFFILE = "tifffile"


def reader_of(page: Page) -> Reader:
    """Who reads a page. Raises `BadImage` (`unsupported_format`), with what is not read of it."""
    if not _is_big_endian_big(page) and (page.compression == _OLD_JPEG or (page.photometric, page.samples) == (6, 1)):
        return Reader.PILLOW
    _check_samples(page)
    compressed = page.compression != 1
    if page.compression in _LIBTIFFS and not _is_big_endian_big(page) and page.tags.get(339, (1,))[0] != 4:
        # Of a single plane that is called planar, Pillow by itself would forget the depth.
        if (compressed or page.is_planar or page.value(284, 1) == 1) and _is_pillows(page, through_libtiff=compressed):
            return Reader.PILLOW
        if not compressed and _is_pillows(page, through_libtiff=True):
            return Reader.LIBTIFF
    _check_tifffiles(page)
    return Reader.TIFFFILE


def _is_big_endian_big(page: Page) -> bool:
    """BigTIFF of big-endian order: Pillow 13 takes it for a classic TIFF."""
    return page.big and page.big_endian


def _is_pillows(page: Page, *, through_libtiff: bool) -> bool:
    key, bits = (page.photometric, page.extra), page.bits[0]
    if page.is_mirrored and not _is_read_mirrored(page, through_libtiff):
        return False
    if page.photometric == 3 and has_narrow_palette(page):
        return False
    if page.is_planar:
        return _are_pillows_planes(page, through_libtiff)
    if page.photometric == 6 and not through_libtiff:
        return bits == 8 and key == (6, ()) and _is_plain_ycbcr(page)
    keys = {1: _FEW_BITS, 2: _FEW_BITS, 4: _FEW_BITS, 8: _EIGHT_BITS, 16: _SIXTEEN_BITS}.get(bits, frozenset())
    return key in keys


def _are_pillows_planes(page: Page, through_libtiff: bool) -> bool:
    key, bits = (page.photometric, page.extra), page.bits[0]
    if through_libtiff and page.extra and 338 not in page.tags:  # libtiff multiplies the colours with such an alpha
        return False
    if through_libtiff and bits in (8, 16) and key in _PLANES_OF_LIBTIFF:
        return True
    if through_libtiff and (bits, key) == (8, (6, ())):
        return page.tags.get(530, (2, 2)) == (1, 1)
    return bits == 8 and key in _PLANES_OF_8


def _is_read_mirrored(page: Page, through_libtiff: bool) -> bool:
    """Of fill order 2, which only few bits or faxes are stored in, Pillow reads the plain kinds."""
    if page.bits[0] > 8 or page.extra or page.is_planar or page.photometric not in (0, 1, 2, 3):
        return False
    return through_libtiff or page.photometric == 1


def _is_plain_ycbcr(page: Page) -> bool:
    """One Cb and Cr for each pixel, of 8 bits, and the conversion of JFIF. Without a tag there is one for 2 x 2 pixels.

    What a codec of whole images makes of YCbCr is its own affair.
    """
    plain = page.tags.get(530, (2, 2)) == (1, 1) and not {529, 532} & page.tags.keys()
    return plain and page.bits[0] == 8 and page.compression in _PREDICTED | {1, _JPEG, 32773}


def is_decoded_to_rgb(page: Page) -> bool:
    """Whether a codec turns YCbCr into RGB by itself: JPEG does so with all three together."""
    return page.photometric == 6 and page.compression == _JPEG and not page.is_planar


def has_narrow_palette(page: Page) -> bool:
    """Whether the colours of a palette are of 8 bits, as old programs wrote them, and not of the 16 that are right.

    libtiff's own conversion to RGB tells it the same way.
    """
    return 0 < max(page.tags.get(320, (0,))) < 256


def _check_samples(page: Page) -> None:
    channels = CHANNELS.get(page.photometric)
    if channels is None:
        name = _COLOURS.get(page.photometric, f"PhotometricInterpretation {page.photometric}")
        raise _unsupported(f"the colours are {name}, which is not read; store it as grey or RGB")
    if page.compression not in _LIBTIFFS | _TIFFFILES:
        raise _unsupported(f"{_compression(page)} is not read; store it with LZW or Deflate")
    if page.formats != {1}:
        names = " and ".join(sorted({_FORMATS.get(each, f"of format {each}") for each in page.formats}))
        raise _unsupported(f"{names} samples, whose range of black to white no tag gives; store it with 8 or 16 bits")
    if len(set(page.bits)) != 1 or len(page.bits) != page.samples:
        raise _unsupported(f"samples of {', '.join(map(str, page.bits[:_MOST_SAMPLES]))} bits in one pixel")
    if page.bits[0] > 16:
        raise _unsupported(
            f"{page.bits[0]}-bit samples, whose range of black to white no header gives; store it with 8 or 16 bits"
        )
    if page.samples < channels or page.samples > _MOST_SAMPLES:
        raise _unsupported(f"{page.samples} samples in a pixel, where the colours have {channels}")
    if page.photometric in (0, 1) and page.extra.count(0) > 1:
        raise _unsupported(f"{page.samples} channels, and no tag says which are colours; store three as RGB")
    if page.photometric == 5 and page.value(332, 1) != 1:
        raise _unsupported("separations into other inks than cyan, magenta, yellow and black")
    if page.value(32997, 1) != 1:
        raise _unsupported("an image with depth (voxels)")


def _check_tifffiles(page: Page) -> None:
    """Whether tifffile's samples can be brought to colours."""
    kind = f"{page.bits[0]}-bit samples, {_compression(page)}"
    if page.compression not in _TIFFFILES:
        raise _unsupported(f"{kind} in this layout is not read; store it with LZW or Deflate")
    if page.value(317, 1) != 1 and (
        page.value(317, 1) != 2 or page.compression not in _PREDICTED or page.bits[0] not in (8, 16)
    ):
        raise _unsupported(f"{kind} with a predictor is not read; store it without")
    if page.photometric == 5 and {1, 2} & set(page.extra):
        raise _unsupported("CMYK with alpha is not read; store it as RGB")
    if page.photometric == 6 and not is_decoded_to_rgb(page) and not _is_plain_ycbcr(page):
        raise _unsupported(f"YCbCr of {kind}, thinned out or unlike JPEG's, is not read; store it as RGB")
    if page.photometric in (8, 9) and page.bits[0] not in (8, 16):
        raise _unsupported(f"Lab of {kind} is not read; store it with 8 or 16 bits")
    if page.photometric == 3 and len(page.tags.get(320, ())) != 3 << page.bits[0]:
        raise BadImage(ErrorClass.CORRUPT, f"tiff: the palette has {len(page.tags.get(320, ()))} numbers")


def _compression(page: Page) -> str:
    name = _COMPRESSIONS.get(page.compression)
    return f"compression {page.compression}" + (f" ({name})" if name else "")


def _unsupported(what: str) -> BadImage:
    return BadImage(ErrorClass.UNSUPPORTED_FORMAT, f"tiff: {what}")
