"""The segments before a JPEG's first scan: those that change no pixel are left out, and can then not fail the image."""

_SCAN = 0xDA
_SIDE = frozenset({*range(0xE0, 0xF0), 0xFE})
"""Those of applications, and comments."""
_KEPT = ((0xE0, b"JFIF\0", 7), (0xE1, b"Exif\0", 6), (0xE2, b"ICC_PROFILE\0", 14), (0xEE, b"Adobe", 12))
"""Marker, what the segment begins with, and the bytes below which decoders take it for no such segment: JFIF up to its
version, EXIF up to its header, a profile with its number and count, Adobe's up to its colour transform."""


def without_side_segments(data: bytes) -> bytes:
    """`data` itself where it has none before its first scan."""
    kept, at, first = [], 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        start, marker = at, data[at + 1]
        at = start + 1 if marker == 0xFF else start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if marker in _SIDE and not _matters(marker, data[start + 4 : at]):
            kept.append(data[first:start])
            first = at
    # Where the header is not in order up to there, its decoder finds its own way, or says why not.
    in_order = data[at : at + 2] == bytes([0xFF, _SCAN])
    return b"".join([*kept, data[first:]]) if kept and in_order else data


def ends_in_header(data: bytes) -> bool:
    """Whether a file ends before its first scan, in order up to there."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        at = at + 1 if data[at + 1] == 0xFF else at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at + 4 > len(data) and data[at : at + 1] in (b"", b"\xff")


def _matters(marker: int, body: bytes) -> bool:
    return any(marker == kind and body.startswith(name) and len(body) >= size for kind, name, size in _KEPT)
