"""Image files made byte by byte from arrays, as their specifications say: what encoders at hand do not write."""

import struct
import zlib

import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, body: bytes, *, right: bool = True) -> bytes:
    checksum = zlib.crc32(kind + body) ^ (0 if right else 1)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(
    samples: np.ndarray, depth: int, colour: int, before: bytes = b"", after: bytes = b"", interlace: bool = False
) -> bytes:
    """A PNG of `samples` (height, width[, channels]) at `depth` bits, `colour` its colour type; `before` and `after`
    are whole chunks on either side of the pixels. Interlaced only of one pixel."""
    height, width = samples.shape[:2]
    if depth == 16:
        lines = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    else:
        bits = np.unpackbits(samples.astype(np.uint8).reshape(height, -1, 1), axis=2)[:, :, 8 - depth :]
        lines = np.packbits(bits.reshape(height, -1), axis=1)
    pixels = b"".join(b"\0" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    chunks = png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", zlib.compress(pixels)) + after
    return PNG_SIGNATURE + chunks + png_chunk(b"IEND", b"")


def bmp(
    pixels: bytes, size: tuple[int, int], bits: int, masks: tuple[int, ...] = (), method: int | None = None
) -> bytes:
    """A BMP with a V4 header; `pixels` are its rows, from the last, each of whole 32-bit words."""
    method = (3 if masks else 0) if method is None else method
    header = struct.pack("<IiiHHIIiiII", 108, *size, 1, bits, method, len(pixels), 0, 0, 0, 0)
    header += struct.pack("<4I", *masks, *[0] * (4 - len(masks))) + b"BGRs" + bytes(48)
    return struct.pack("<2sIHHI", b"BM", 14 + 108 + len(pixels), 0, 0, 14 + 108) + header + pixels


def gif(canvas: tuple[int, int], frame: tuple[int, int, int, int], palette: bytes, background: int = 0) -> bytes:
    """A GIF of one frame (left, top, width, height) in colour 1 of a `palette` of four; nothing is transparent."""
    left, top, width, height = frame
    header = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0xF1, background, 0) + palette
    # Codes of three bits: clear, then a clear after every two samples, so that no code grows (GIF89a, appendix F).
    codes = [4] + [code for i in range(width * height) for code in ([1, 4] if i % 2 else [1])] + [5]
    bits = np.array([[code >> i & 1 for i in range(3)] for code in codes], np.uint8).ravel()
    packed = np.packbits(bits, bitorder="little").tobytes()
    blocks = b"".join(bytes([len(packed[i : i + 255])]) + packed[i : i + 255] for i in range(0, len(packed), 255))
    return header + b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\x02" + blocks + b"\0;"


def animated_webp(canvas: tuple[int, int], frame: tuple[int, int, int, int], picture: bytes, *, alpha: bool) -> bytes:
    """A WebP whose only frame (left and top even, width, height) is `picture`, a whole WebP file without alpha."""
    left, top, width, height = frame
    where = b"".join(number.to_bytes(3, "little") for number in (left // 2, top // 2, width - 1, height - 1, 100))
    flags = bytes([0x02 | (0x10 if alpha else 0), 0, 0, 0])
    size = b"".join((number - 1).to_bytes(3, "little") for number in canvas)
    chunks = [(b"VP8X", flags + size), (b"ANIM", bytes(6)), (b"ANMF", where + b"\x02" + picture[12:])]
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def lossless_jpeg(grey: np.ndarray, bits: int) -> bytes:
    """A lossless JPEG (T.81, annex H) of `grey` (height, width): each sample less its left neighbour, the first of a
    line less the one above it, in codes of five bits for the number of bits of the difference."""
    height, width = grey.shape
    above = np.concatenate([[1 << (bits - 1)], grey[:-1, 0]])
    difference = np.diff(grey.astype(int), axis=1, prepend=above[:, None])
    coded = []
    for value in difference.ravel().tolist():
        size = abs(value).bit_length()
        coded.append(f"{size:05b}" + (f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""))
    text = "".join(coded)
    data = int(text + "1" * (-len(text) % 8), 2).to_bytes(-(-len(text) // 8), "big").replace(b"\xff", b"\xff\0")
    frame = struct.pack(">BHHB3B", bits, height, width, 1, 1, 0x11, 0)
    table = b"\0" + bytes([0, 0, 0, 0, bits + 1, *[0] * 11]) + bytes(range(bits + 1))
    scan = bytes([1, 1, 0, 1, 0, 0])
    segments = ((0xC3, frame), (0xC4, table), (0xDA, scan))
    head = b"".join(bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
    return b"\xff\xd8" + head + data + b"\xff\xd9"
