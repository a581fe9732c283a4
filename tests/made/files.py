"""Files of images put together or altered byte by byte, where no library writes what is to be read."""

import struct

from made.image_files import png_chunk


def with_chunks(png: bytes, **bodies: bytes) -> bytes:
    """A PNG with more chunks behind its header; by kind."""
    return png[:33] + b"".join(png_chunk(kind.encode(), body) for kind, body in bodies.items()) + png[33:]


def with_property(avif: bytes, kind: bytes, body: bytes) -> bytes:
    """An AVIF of one item, as Pillow writes it, with one more property of that item, the last one."""
    data, extra = bytearray(avif), struct.pack(">I4s", 8 + len(body), kind) + body
    ipma = data.index(b"ipma")
    count = data[ipma + 14]
    end = ipma - 4 + _size(data, b"ipma")
    data[ipma + 14] = count + 1
    data[end:end] = bytes([0x80 | count + 1])  # essential, which turns must be
    for name, more in (("ipma", 1), ("ipco", len(extra)), ("iprp", len(extra) + 1), ("meta", len(extra) + 1)):
        _grow(data, name.encode(), more)
    data[ipma - 4 : ipma - 4] = extra
    at = data.index(b"iloc") - 4 + _size(data, b"iloc") - 8
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(extra) + 1)
    return bytes(data)


def _size(data: bytearray, kind: bytes) -> int:
    size: int = struct.unpack_from(">I", data, data.index(kind) - 4)[0]
    return size


def _grow(data: bytearray, kind: bytes, more: int) -> None:
    struct.pack_into(">I", data, data.index(kind) - 4, _size(data, kind) + more)
