"""JPEGs that Pillow alone reads, since libjpeg-turbo's own interface knows no name for how their colours are thinned
out (CMYK by 2 x 2, 3 x 1 …). Pillow does not say where blocks are missing."""

import simplejpeg

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.jpeg.blocks import END, LAST, has_all_scans, segments

_CONTINUED = tuple(
    coded + b"".join(bytes([0xFF, 0xD0 + number % 8]) + coded for number in range(16)) + END
    for coded in (bytes(range(64)), bytes(range(250, 186, -1)))
)
"""Coded data and restarts of every number: two that no decoder takes for the same blocks."""


def continued(data: bytes) -> tuple[bytes, bytes] | None:
    """A file of that kind in two versions, whose coded data go on differently. A decoder reads up to its last block, so
    that the pixels differ where a block is missing, and there alone.

    None of all other files. Raises `BadImage` (`truncated`) where the file ends before its last scan.
    """
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        if "subsampling" not in str(error):
            return None
    else:
        return None
    end = next((start for kind, start, _ in segments(data) if kind == LAST), None)
    if end is not None:
        coded = data[: end - len(END)]
    elif has_all_scans(data):
        coded = _without_fill(data)
    else:
        raise BadImage(ErrorClass.TRUNCATED, f"jpeg: {len(data)} bytes, which end before the last scan")
    return coded + _CONTINUED[0], coded + _CONTINUED[1]


def _without_fill(data: bytes) -> bytes:
    """Without zeros and half a marker at its end, but with FF00, which is coded data."""
    size = len(data.rstrip(b"\0\xff"))
    while data[size : size + 2] == b"\xff\0":
        size += 2
    return data[:size]
