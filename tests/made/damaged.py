"""Whole files of every format, and damage done to them: by what a file is made of, not by bytes alone.

A case is a file's name and what is done to it, one after the other: small enough to be kept as a line of a test.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from made.image_files import animated_webp

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)
_DRAWN_SIZE = (48, 33)


class Damage(NamedTuple):
    kind: str
    at: float
    """Where in the file, from 0 to 1."""
    value: int
    """What that means is the kind's own."""


class Case(NamedTuple):
    file: str
    damages: tuple[Damage, ...]


def picture(mode: str) -> Image.Image:
    width, height = _DRAWN_SIZE
    ramp = np.add.outer(np.arange(height) * 5, np.arange(width) * 3) % 256
    image = Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1).astype(np.uint8))
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(ramp.astype(np.uint8)))
    return image if mode == "RGBA" else image.convert(mode)


def _saved(mode: str, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture(mode).save(out, format, **options)
    return out.getvalue()


@cache
def whole_files() -> dict[str, bytes]:
    """Name -> a small image file that is read."""
    exif = Image.Exif()
    exif[0x0112] = 6
    still = _saved("RGB", "WEBP")
    frames = {"save_all": True, "append_images": [picture("P").transpose(Image.Transpose.ROTATE_180)]}
    return {
        "jpeg": _saved("RGB", "JPEG"),
        "jpeg progressive": _saved("RGB", "JPEG", progressive=True, exif=exif),
        "jpeg grey": _saved("L", "JPEG"),
        "jpeg cmyk": _saved("CMYK", "JPEG"),
        "png": _saved("RGB", "PNG"),
        "png alpha": _saved("RGBA", "PNG", exif=exif),
        "png palette": _saved("P", "PNG", transparency=3),
        "png bits": _saved("1", "PNG"),
        "gif": _saved("P", "GIF", transparency=3),
        "gif frames": _saved("P", "GIF", **frames),
        "bmp": _saved("RGB", "BMP"),
        "bmp palette": _saved("P", "BMP"),
        "tiff": _saved("RGB", "TIFF"),
        "tiff lzw": _saved("RGB", "TIFF", compression="tiff_lzw"),
        "tiff deflate": _saved("RGBA", "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": _saved("RGB", "TIFF", compression="jpeg"),
        "tiff fax": _saved("1", "TIFF", compression="group4"),
        "webp": still,
        "webp lossless": _saved("RGBA", "WEBP", lossless=True),
        "webp frames": animated_webp((64, 48), (4, 6, *_DRAWN_SIZE), still, alpha=True),
        "avif": _saved("RGB", "AVIF"),
        "avif alpha": _saved("RGBA", "AVIF"),
        "jp2": _saved("RGB", "JPEG2000"),
    }


def _at(data: bytes, where: float) -> int:
    return int(where * len(data))


def _cut(data: bytes, damage: Damage) -> bytes:
    return data[: _at(data, damage.at)]


def _flip(data: bytes, damage: Damage) -> bytes:
    place = _at(data, damage.at)
    changed = bytearray(data)
    for byte in range(place, min(place + 1 + damage.value % 8, len(data))):
        changed[byte] ^= 1 << damage.value % 8
    return bytes(changed)


def _number(data: bytes, damage: Damage, size: int, order: str) -> bytes:
    """A number of so many bytes is put in place of what is there: lengths, sizes, counts, offsets."""
    value = EXTREMES[damage.value % len(EXTREMES)] & (1 << 8 * size) - 1
    place = _at(data, damage.at)
    return data[:place] + value.to_bytes(size, order) + data[place + size :]  # type: ignore[arg-type]


def _in_header(data: bytes, damage: Damage) -> bytes:
    """Of the first 64 bytes, where most formats have their sizes."""
    order = "big" if damage.value % 2 else "little"
    within = damage._replace(at=damage.at * min(64, len(data)) / max(len(data), 1))
    return _number(data, within, 4 if damage.value % 3 else 2, order)


def _drop(data: bytes, damage: Damage) -> bytes:
    place = _at(data, damage.at)
    return data[:place] + data[place + 1 + damage.value % 64 :]


def _repeat(data: bytes, damage: Damage) -> bytes:
    place = _at(data, damage.at)
    return data[: place + damage.value % 256] + data[place:]


def _other_header(data: bytes, damage: Damage) -> bytes:
    """The beginning of a file of another format."""
    others = sorted(whole_files())
    other = whole_files()[others[damage.value % len(others)]]
    size = 4 + int(damage.at * 60)
    return other[:size] + data[size:]


def _chunk(data: bytes, damage: Damage) -> bytes:
    """A PNG's chunk with other content and a right checksum, so that what is inside is looked at; else as `_number`."""
    if not data.startswith(b"\x89PNG"):
        return _number(data, damage, 4, "big")
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return data
    number = int(damage.at * len(chunks))
    kind, body = chunks[number]
    place = damage.value % max(len(body), 1)
    chunks[number] = kind, body[:place] + EXTREMES[damage.value % len(EXTREMES)].to_bytes(4, "big") + body[place + 4 :]
    made = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return data[:8] + b"".join(made)


KINDS: dict[str, Callable[[bytes, Damage], bytes]] = {
    "cut": _cut,
    "flip": _flip,
    "short big": lambda data, damage: _number(data, damage, 2, "big"),
    "short little": lambda data, damage: _number(data, damage, 2, "little"),
    "word big": lambda data, damage: _number(data, damage, 4, "big"),
    "word little": lambda data, damage: _number(data, damage, 4, "little"),
    "in header": _in_header,
    "drop": _drop,
    "repeat": _repeat,
    "other header": _other_header,
    "chunk": _chunk,
}


def damaged(data: bytes, damages: tuple[Damage, ...]) -> bytes:
    """The file with all of that done to it."""
    for damage in damages:
        data = KINDS[damage.kind](data, damage)
    return data


def random_case(chance: random.Random, files: list[str]) -> Case:
    """A case by chance: of three damages at most, so that most of a file is still looked at."""
    damages = (
        Damage(chance.choice(sorted(KINDS)), chance.random(), chance.randrange(1 << 16))
        for _ in range(chance.choice((1, 1, 1, 2, 3)))
    )
    return Case(chance.choice(files), tuple(damages))
