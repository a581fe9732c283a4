"""The samples of a JPEG through libjpeg-turbo, and whether the file holds every block of them."""

import re
from collections.abc import Iterator

import numpy as np
import simplejpeg

from operators.base.errors import BadImage, ErrorClass

LAST = 0xD9
END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker among coded data, where FF00 is a byte FF, FFFF fills, and FFD0 to FFD7 are restarts (T.81, B.1.1)."""
_SCAN, _PROGRESSIVE = 0xDA, frozenset({0xC2, 0xCA})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NOT_ALL = ("premature end of data segment", "found marker 0xd9 instead of rst")
"""What libjpeg says, in lower case, when the coded data of a scan ends before its last block."""


WHOLE = (0, 0)
"""Of `samples`: the image as it is."""


def samples(data: bytes | memoryview, space: str, least: tuple[int, int] = WHOLE) -> np.ndarray | None:
    """(height, width, channels) uint8 in `space`: "RGB", "RGBX", or as the file stores them "GRAY" and "CMYK".

    They equal Pillow's, in three quarters of the time. `least`: (height, width) of the image at one of `SCALES`, which
    libjpeg gives in the place of the whole. None where libjpeg recovers from damage, which is left to Pillow. Where
    blocks are missing, whether the file says that it ends or not, `BadImage` of class `truncated`.
    """
    try:
        return _decode(data, space, least)
    except ValueError as error:
        reason = str(error)
    if reason.lower() == "premature end of jpeg file":
        pixels = _without_its_end(bytes(data), space, least)
        if pixels is not None:
            return pixels
    elif not any(words in reason.lower() for words in _NOT_ALL):
        return None
    raise BadImage(ErrorClass.TRUNCATED, f"jpeg: {reason}")


def _decode(data: bytes | memoryview, space: str, least: tuple[int, int]) -> np.ndarray:
    height, width = least
    # Factors under 2 take longer than the whole.
    factor = 1 if least == WHOLE else 2
    pixels: np.ndarray = simplejpeg.decode_jpeg(
        data, space, strict=True, min_height=height, min_width=width, min_factor=factor
    )
    return pixels


def _without_its_end(data: bytes, space: str, least: tuple[int, int]) -> np.ndarray | None:
    """The samples of a file whose last marker is missing, zeros in its place or not; None where blocks are missing."""
    if not has_all_scans(data):
        return None
    for ended in (data + END, data.rstrip(b"\0") + END):
        try:
            return _decode(ended, space, least)
        except ValueError:
            continue
    return None


def has_all_scans(data: bytes) -> bool:
    """Whether there is a scan for each component, and of a progressive file for each bit of each coefficient.

    Of a scan only that it begins is looked at.
    """
    missing: dict[int, set[int]] = {}
    progressive = False
    for kind, start, end in segments(data):
        if kind in _FRAMES and end >= start + 6:
            progressive = kind in _PROGRESSIVE
            missing = {component: set(range(64)) for component in data[start + 6 : end : 3]}
        elif kind == _SCAN and end >= start + 1:
            _take_off(missing, data[start:end], progressive)
    return bool(missing) and not any(missing.values())


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, first byte of its body, byte behind that) of each, coded data left out, up to the end of the image or to
    one that is not whole."""
    at = 2
    while marker := _MARKER.search(data, at):
        kind, start = data[marker.end() - 1], marker.end()
        if kind == LAST:
            yield kind, start, start
            return
        at = start + int.from_bytes(data[start : start + 2], "big")
        if at > len(data):
            return
        yield kind, start + 2, at


def _take_off(missing: dict[int, set[int]], scan: bytes, progressive: bool) -> None:
    """Take the coefficients that a scan completes off those that are missing."""
    components = scan[1 : 1 + 2 * scan[0] : 2]
    first, last, bits = scan[-3:] if len(scan) >= 4 else (0, -1, 0)
    complete = set(range(64))
    if progressive:
        complete = set(range(first, last + 1)) if bits & 0x0F == 0 else set()
    for component in components:
        missing.get(component, set()).difference_update(complete)
