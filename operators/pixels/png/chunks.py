"""A PNG without the chunks that change no pixel: none of them, right or wrong, can then fail the image."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from operators.base.errors import BadImage, ErrorClass

_SIGNATURE_BYTES = 8
_COLOUR_TYPE, _PALETTE = 25, 3
"""Where IHDR, which is always the first chunk, says what samples are. Of a palette, tRNS is the alpha of its
entries."""
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_LENGTHS = {
    b"tRNS": range(1, 257),
    b"eXIf": range(1, 1 << 20),
}
"""Side chunks that say something of transparency or orientation, and how long they may be. Those on colours are read
here."""
_COLOURS = frozenset({b"cICP", b"sRGB", b"gAMA", b"cHRM"})
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_EXIF_TEXT = b"Raw profile type exif\0"
"""How EXIF was written before eXIf was part of the format."""
_MAX_TEXT_BYTES = 256 * 1024
"""EXIF has less than 64 KiB; hexadecimal digits and line breaks make twice that of it."""


@dataclass(frozen=True, kw_only=True)
class PngFile:
    """A PNG as its decoder gets it: `data` without what changes no pixel, the `icc` profile, the body of
    tRNS where that is a colour `key`, else nothing, and the bodies of the other chunks on `colours` by their kind."""

    data: bytes
    icc: bytes | None
    key: bytes
    colours: dict[bytes, bytes]


def without_side_chunks(data: bytes, max_icc_bytes: int) -> PngFile:
    """Leaves out texts, animations, what is unknown, side chunks of a wrong checksum or length, as libpng leaves those
    out with a warning, and profiles of more than `max_icc_bytes`.

    All else is copied as it is, so that what is critical and damaged or cut short is for the decoder to find. Raises
    `BadImage` where the file ends in the head of a chunk, before any pixel.
    """
    kept, icc, key, has_pixels = [data[:_SIGNATURE_BYTES]], None, b"", False
    colours: dict[bytes, bytes] = {}
    for kind, start, end in _chunks(data):
        has_pixels |= kind == b"IDAT"
        if len(kind) < 4 and not has_pixels:
            raise BadImage(ErrorClass.TRUNCATED, f"png: {len(data)} bytes, which end before the first pixel")
        if kind in _CRITICAL or (end > len(data) and not has_pixels):
            kept.append(data[start:end])
        elif _is_right(data, start, end):
            body = data[start + 8 : end - 4]
            if kind == b"iCCP" and not has_pixels:
                icc = icc or _profile(body, max_icc_bytes)
            elif kind in _COLOURS and not has_pixels:
                colours.setdefault(kind, body)
            elif kind == b"tRNS" and data[_COLOUR_TYPE] != _PALETTE:
                key = key if has_pixels else body
            elif _matters(kind, body):
                kept.append(data[start:end])
    return PngFile(data=b"".join(kept), icc=icc, key=key, colours=colours)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, first byte, byte behind the checksum) of each chunk, up to IEND; the last may end beyond the file."""
    at, kind = _SIGNATURE_BYTES, b""
    while at < len(data) and kind != b"IEND":
        kind, start = data[at + 4 : at + 8], at
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        yield kind, start, at


def _is_right(data: bytes, start: int, end: int) -> bool:
    """Whether a chunk is there, with the checksum of its kind and body."""
    checked = memoryview(data)[start + 4 : end - 4]
    return end <= len(data) and zlib.crc32(checked) == int.from_bytes(data[end - 4 : end], "big")


def _matters(kind: bytes, body: bytes) -> bool:
    if kind in _TEXTS:
        return body.startswith(_EXIF_TEXT) and _fits(kind, body)
    return len(body) in _LENGTHS.get(kind, ())


def _fits(kind: bytes, body: bytes) -> bool:
    """Whether a text holds no more than EXIF can, once it is unpacked too."""
    if kind == b"zTXt":
        return _inflated(body[len(_EXIF_TEXT) :], _MAX_TEXT_BYTES) is not None
    return kind == b"tEXt" and len(body) <= _MAX_TEXT_BYTES


def _profile(body: bytes, max_bytes: int) -> bytes | None:
    """The profile of an iCCP chunk, which is a name, a zero, and a compressed profile."""
    return _inflated(body.partition(b"\0")[2], max_bytes)


def _inflated(body: bytes, max_bytes: int) -> bytes | None:
    """What is behind a method of compression, 0 for zlib; None where it is empty, broken, or more than `max_bytes`."""
    reader = zlib.decompressobj()
    try:
        found = reader.decompress(body[1:], max_bytes + 1)
    except zlib.error:
        return None
    return found if body[:1] == b"\0" and 0 < len(found) <= max_bytes else None
