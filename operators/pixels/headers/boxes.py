"""The boxes of ISO media files (ISO/IEC 14496-12), which AVIF, HEIF, JPEG 2000 and JPEG XL are made of."""

import struct
from collections.abc import Iterator


def boxes(data: memoryview, *, cut: bool = False) -> Iterator[tuple[bytes, memoryview]]:
    """(type, body) of the boxes that lie one after another in `data`, until one is not whole; with `cut`, what there is
    of that one too, of no type where that is not there."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and at + 16 <= len(data):
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = len(data) - at
        if size < start - at or (size > len(data) - at and not cut):
            return
        yield kind, data[start : at + size]
        at += size
    if cut and at < len(data):
        yield b"", data[at:]


def is_cut(data: memoryview) -> bool:
    """Whether a file that is made of boxes ends within one."""
    return sum(1 for _ in boxes(data)) != sum(1 for _ in boxes(data, cut=True))


def box(data: memoryview, *path: bytes) -> memoryview:
    """The body of the first box of the first type of `path`, in it of the next, and so on; empty without it."""
    for kind in path:
        data = next((body for name, body in boxes(data) if name == kind), data[:0])
    return data
