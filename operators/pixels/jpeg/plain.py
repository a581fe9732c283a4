"""The header of a JPEG that holds an image and nothing else, read without Pillow: a tenth of the time it takes."""

_APP0, _APP14 = 0xE0, 0xEE
_DQT, _SOS, _COMMENT = 0xDB, 0xDA, 0xFE
_TABLES = frozenset({0xC4, 0xDD})
"""Huffman tables, the restart interval: nothing that Pillow looks into."""
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive, with Huffman coding."""


def plain_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """(width, height) of a greyscale or three-channel JPEG of 8 bits; None for any that Pillow must look at.

    These are files with anything that could turn the pixels or change their colour (EXIF, XMP, ICC), all others with
    segments beyond JFIF's and Adobe's own, and those whose header is not in perfect order up to the first scan: what
    Pillow would refuse is not taken here.
    """
    size, at = None, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, start = data[at + 1], at + 4
        at += 2 + int.from_bytes(data[at + 2 : start], "big")
        if at > len(data) or at < start:
            return None
        if marker in _FRAMES:
            if size is not None:
                return None
            size = _size(bytes(data[start:at]))
            if size is None:
                return None
        elif marker == _SOS:
            return size
        elif marker not in _TABLES and not _is_known(marker, bytes(data[start:at])):
            return None
    return None


def _size(frame: bytes) -> tuple[int, int] | None:
    if len(frame) < 6 or frame[0] != 8 or frame[5] not in (1, 3) or len(frame) != 6 + 3 * frame[5]:
        return None
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    return (width, height) if width and height else None


def _is_known(marker: int, segment: bytes) -> bool:
    """Whether a segment is one that Pillow reads without complaint, and that changes no pixel."""
    if marker == _DQT:
        return _are_tables(segment)
    if marker == _APP0:
        return len(segment) >= 14 and segment.startswith(b"JFIF")
    if marker == _APP14:
        return len(segment) >= 12 and segment.startswith(b"Adobe")
    return marker == _COMMENT


def _are_tables(segment: bytes) -> bool:
    """Whether these are whole quantisation tables, of 64 values of one or two bytes."""
    at = 0
    while at < len(segment):
        at += 65 if segment[at] < 16 else 129
    return at == len(segment)
