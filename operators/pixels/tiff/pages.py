"""Which directory of a TIFF holds its picture; raw camera files, which begin as TIFF, are told and refused."""

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.tiff.directory import Page, below, chain, first_at

_MOST_PAGES, _MOST_BELOW = 8, 16
"""Directories that are looked at. Cameras write up to four, and as many below the first."""
_HEADER_BYTES = 8
_SENSOR = frozenset({32803, 34892})
"""PhotometricInterpretation of what a sensor saw: a colour filter array, and linear raw (DNG)."""
_MAKERS = {
    **{"NIKON": "NEF", "SONY": "ARW", "PENTAX": "PEF", "RICOH": "PEF", "ASAHI": "PEF", "SAMSUNG": "SRW"},
    **{"HASSELBLAD": "3FR", "EPSON": "ERF", "SEIKO": "ERF", "KODAK": "DCR", "EASTMAN": "DCR", "MAMIYA": "MEF"},
    **{"LEAF": "MOS", "PHASE": "IIQ", "CANON": "CR2", "PANASONIC": "RW2", "LEICA": "DNG"},
}
_DNG_VERSION, _LEAF = 50706, 34310


def picture(data: bytes) -> Page:
    """The page to read: the first one that is no smaller version of another. Raises `BadImage`."""
    pages = list(chain(data, _MOST_PAGES))
    if not pages:
        raise _without_directory(len(data), first_at(data)[2])
    under = [each for page in pages for each in below(data, page, _MOST_BELOW)]
    _refuse_raw(data, [*pages, *under])
    whole = [page for page in [*pages, *under] if not page.is_reduced]
    if not pages[0].is_reduced or (not whole and len(pages) + len(under) == 1):
        return _uncut(pages[0], len(data))
    if not whole:
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT,
            "tiff: all pages are marked as smaller versions or masks (NewSubfileType) of an image that is not there",
        )
    return _uncut(whole[0], len(data))


def _uncut(page: Page, size: int) -> Page:
    if page.is_cut:
        raise BadImage(ErrorClass.TRUNCATED, f"tiff: {size} bytes, and where the picture is should be said behind them")
    return page


def _refuse_raw(data: bytes, pages: list[Page]) -> None:
    """Of a raw file there would be its thumbnail, or what the sensor saw, undeveloped."""
    kind = None
    if data[8:12] == b"CR\2\0" and pages[0].at == 16:
        kind = "CR2"
    elif data[8:12] + data[13:16] == b"IIIIwaR" or data[8:15] == b"MMMMRaw":
        kind = "IIQ"
    elif any(_DNG_VERSION in page.tags for page in pages):
        kind = "DNG"
    elif any(_LEAF in page.tags for page in pages):
        kind = "MOS"
    elif any(page.photometric in _SENSOR for page in pages):
        maker = bytes(value & 0xFF for value in pages[0].tags.get(271, ())).decode("latin-1").upper()
        kind = next((name for word, name in _MAKERS.items() if maker.strip().startswith(word)), "of a camera")
    if kind is not None:
        raise BadImage(
            ErrorClass.UNSUPPORTED_FORMAT,
            f"this is a raw camera file ({kind}), and what it holds beside the sensor's data is a preview; "
            "develop it to JPEG or TIFF",
        )


def _without_directory(size: int, at: int) -> BadImage:
    if size >= _HEADER_BYTES and at < _HEADER_BYTES:
        return BadImage(ErrorClass.CORRUPT, "tiff: there is no directory of an image")
    return BadImage(
        ErrorClass.TRUNCATED, f"tiff: {size} bytes, and the directory of the image, at byte {at}, is not whole"
    )
