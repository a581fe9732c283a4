"""TIFF files written from arrays by the specification (TIFF 6.0, BigTIFF), in any combination of their tags."""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_SHORT, _LONG, _LONG8 = 3, 4, 16
_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 13: "I", 16: "Q"}


@dataclass
class Directory:
    """One page: its tags (number -> type and values), its strips or tiles, and the pages below it (SubIFDs)."""

    tags: dict[int, tuple[int, Sequence[int]]]
    chunks: list[bytes]
    tiled: bool = False
    below: list["Directory"] = field(default_factory=list)


def tiff(samples: np.ndarray, *, order: str = "<", big: bool = False, **options: Any) -> bytes:
    """A file with the one page that `directory` makes of the same options."""
    return tiff_file([directory(samples, order=order, **options)], order=order, big=big)


def directory(
    samples: np.ndarray,
    *,
    photometric: int | None,
    bits: int | tuple[int, ...] = 8,
    sample_format: int | tuple[int, ...] | None = None,
    planar: int = 1,
    extra: Sequence[int] | None = None,
    compression: int = 1,
    encode: Callable[[bytes], bytes] | None = None,
    fill_order: int = 1,
    rows: int | None = None,
    tile: tuple[int, int] | None = None,
    order: str = "<",
    tags: dict[int, tuple[int, Sequence[int]]] | None = None,
    below: Sequence[Directory] = (),
) -> Directory:
    """A page of `samples` (height, width, samples a pixel), whole numbers of `bits` bits or float32.

    `rows` are those of a strip, `tile` is (height, width); `encode` compresses one of them. `tags` come on top.
    """
    height, width, count = samples.shape
    depths = bits if isinstance(bits, tuple) else (bits,) * count
    planes = [samples[..., at : at + 1] for at in range(count)] if planar == 2 else [samples]
    pieces = [piece for plane in planes for piece in _pieces(plane, rows or height, tile)]
    encode = encode or ENCODERS[compression]
    chunks = [_mirrored(encode(pack(piece, depths[: piece.shape[2]], order)), fill_order) for piece in pieces]
    made: dict[int, tuple[int, Sequence[int]]] = {256: (4, [width]), 257: (4, [height]), 258: (3, depths)}
    made |= {259: (3, [compression]), 277: (3, [count]), 284: (3, [planar])}
    if photometric is not None:
        made[262] = (3, [photometric])
    if fill_order != 1:
        made[266] = (3, [fill_order])
    if extra is not None:
        made[338] = (3, list(extra))
    if sample_format is not None:
        made[339] = (3, sample_format if isinstance(sample_format, tuple) else [sample_format] * count)
    made |= {322: (3, [tile[1]]), 323: (3, [tile[0]])} if tile else {278: (4, [rows or height])}
    return Directory(made | (tags or {}), chunks, tile is not None, list(below))


def pack(samples: np.ndarray, bits: tuple[int, ...], order: str) -> bytes:
    """Rows of samples as TIFF stores them: the highest bit first, each row filled up to a byte."""
    if samples.dtype.kind == "f":
        return samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    if set(bits) <= {8, 16, 32} and len(set(bits)) == 1:
        return (samples.astype(np.int64) % (1 << bits[0])).astype(f"{order}u{bits[0] // 8}").tobytes()
    columns = []
    for at, depth in enumerate(bits):
        values = samples[..., at].astype(np.int64)[..., None]
        columns.append(values >> np.arange(depth - 1, -1, -1) & 1)
    rows = np.concatenate(columns, axis=-1).reshape(len(samples), -1).astype(np.uint8)
    return np.packbits(rows, axis=-1).tobytes()


def subsampled(ycbcr: np.ndarray, across: int, down: int) -> bytes:
    """YCbCr (height, width, 3) uint8 in data units: `down` x `across` of Y, then the first Cb and Cr of the block."""
    height, width = ycbcr.shape[:2]
    full = np.pad(ycbcr, ((0, -height % down), (0, -width % across), (0, 0)), mode="edge")
    units = []
    for y in range(0, full.shape[0], down):
        for x in range(0, full.shape[1], across):
            block = full[y : y + down, x : x + across]
            units.append(block[..., 0].tobytes() + block[0, 0, 1:].tobytes())
    return b"".join(units)


def tiff_file(pages: Sequence[Directory], *, order: str = "<", big: bool = False) -> bytes:
    """The file: header, then each page's strips, the pages below it, its directory; pages linked in their order."""
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(f"{order}HHHQ", 43, 8, 0, 0) if big else struct.pack(f"{order}HI", 42, 0))
    out = bytearray(head)
    offset = f"{order}{'Q' if big else 'I'}"
    link = 8 if big else 4
    for page in pages:
        at, end = _write_directory(out, page, order, big)
        struct.pack_into(offset, out, link, at)
        link = end
    return bytes(out)


def _write_directory(out: bytearray, page: Directory, order: str, big: bool) -> tuple[int, int]:
    """(where the directory is, where the link to the next one is)."""
    offsets = []
    for chunk in page.chunks:
        offsets.append(len(out))
        out += chunk + b"\0" * (len(chunk) % 2)
    kind = _LONG8 if big else _LONG
    tags = dict(page.tags)
    if offsets:
        tags |= {324 if page.tiled else 273: (kind, offsets)}
        tags |= {325 if page.tiled else 279: (kind, [len(chunk) for chunk in page.chunks])}
    if page.below:
        tags[330] = (kind, [_write_directory(out, each, order, big)[0] for each in page.below])
    room = 8 if big else 4
    entries = b""
    for tag, (type_, values) in sorted(tags.items()):
        body = b"".join(struct.pack(f"{order}{_CODES[type_]}", *_pair(value)) for value in values)
        if len(body) > room:
            where, body = len(out), body + b"\0" * (len(body) % 2)
            out += body
            body = struct.pack(f"{order}{'Q' if big else 'I'}", where)
        entries += struct.pack(f"{order}HH{'Q' if big else 'I'}", tag, type_, len(values)) + body.ljust(room, b"\0")
    at = len(out)
    out += struct.pack(f"{order}{'Q' if big else 'H'}", len(tags)) + entries
    end = len(out)
    out += b"\0" * room
    return at, end


def _pair(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _pieces(plane: np.ndarray, rows: int, tile: tuple[int, int] | None) -> list[np.ndarray]:
    if tile is None:
        return [plane[y : y + rows] for y in range(0, len(plane), rows)]
    tall, wide = tile
    full = np.pad(plane, ((0, -plane.shape[0] % tall), (0, -plane.shape[1] % wide), (0, 0)))
    return [full[y : y + tall, x : x + wide] for y in range(0, len(full), tall) for x in range(0, full.shape[1], wide)]


def _mirrored(data: bytes, fill_order: int) -> bytes:
    """With fill order 2 the first pixel is in the lowest bits of a byte."""
    if fill_order == 1:
        return data
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, 8)
    return np.packbits(bits[:, ::-1]).tobytes()


def packbits(data: bytes) -> bytes:
    """PackBits in literal runs alone."""
    runs = [data[at : at + 128] for at in range(0, len(data), 128)]
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def lzw(data: bytes) -> bytes:
    """LZW of single bytes: the table is cleared before a code needs a tenth bit."""
    codes = []
    for at in range(0, len(data), 200):
        codes += [256, *data[at : at + 200]]
    codes.append(257)
    text = "".join(f"{code:09b}" for code in codes)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


ENCODERS: dict[int, Callable[[bytes], bytes]] = {1: bytes, 5: lzw, 8: zlib.compress, 32773: packbits}
