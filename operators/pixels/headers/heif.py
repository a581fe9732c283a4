"""The properties of the image that an AVIF or HEIF file shows (ISO/IEC 23008-12): its crop, its turns, its colours."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from operators.pixels.colour.cicp import coded_by
from operators.pixels.colour.profile import Coded
from operators.pixels.headers.boxes import box, boxes


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is done to the decoded pixels before they are shown. Without any of it, they are shown as they are."""

    clap: tuple[Fraction, ...] | None = None
    """Clean aperture: width, height, and how far its centre lies right of and below that of the image."""
    turns: tuple[tuple[bytes, int], ...] = ()
    """(b"irot", quarter turns anti-clockwise) and (b"imir", 0 for upside down, 1 for left to right), in their order."""
    colours: Coded | None = None
    """By nclx; None where they are sRGB or not said."""
    is_grey: bool = False

    def cropped(self, pixels: np.ndarray) -> np.ndarray:
        """The part of pixels (height, width, 3) that the clean aperture shows; all, where it is not within them.

        As in ISO/IEC 14496-12, 12.1.4, and only where it falls on whole pixels, as MIAF (ISO/IEC 23000-22, 7.3.6.7)
        wants.
        """
        if self.clap is None:
            return pixels
        wide, high, right, down = self.clap
        left, top = (pixels.shape[1] - wide) / 2 + right, (pixels.shape[0] - high) / 2 + down
        edges = top, top + high, left, left + wide
        whole = all(edge.denominator == 1 for edge in edges) and wide > 0 and high > 0
        if not whole or min(top, left) < 0 or edges[1] > pixels.shape[0] or edges[3] > pixels.shape[1]:
            return pixels
        return pixels[int(edges[0]) : int(edges[1]), int(edges[2]) : int(edges[3])]

    def turned(self, pixels: np.ndarray) -> np.ndarray:
        """(height, width, 3) as the turns show it."""
        for kind, value in self.turns:
            pixels = np.rot90(pixels, value) if kind == b"irot" else np.flip(pixels, axis=value)
        return pixels

    def turned_back(self, pixels: np.ndarray) -> np.ndarray:
        """What `turned` made, as it was."""
        for kind, value in reversed(self.turns):
            pixels = np.rot90(pixels, -value) if kind == b"irot" else np.flip(pixels, axis=value)
        return pixels


_TURNS = (b"irot", b"imir")


def shown(data: bytes) -> Shown:
    """The properties of the primary image; none where the boxes cannot be read, of which its decoder will say more."""
    try:
        found = list(_primary_properties(memoryview(data)))
        nclx = next((body for kind, body in found if kind == b"colr" and bytes(body[:4]) == b"nclx"), None)
        return Shown(
            clap=next((_clap(body) for kind, body in found if kind == b"clap"), None),
            turns=tuple((kind, body[0] & (3 if kind == b"irot" else 1)) for kind, body in found if kind in _TURNS),
            colours=None if nclx is None else coded_by(*struct.unpack_from(">HH", nclx, 4)),
            is_grey=any(_is_grey(kind, body) for kind, body in found),
        )
    except (struct.error, IndexError, ZeroDivisionError):
        return Shown()


def _is_grey(kind: bytes, body: memoryview) -> bool:
    """Whether a property says so: one channel in pixi, monochrome AV1, or HEVC without chroma."""
    return (
        (kind == b"pixi" and body[4] == 1)
        or (kind == b"av1C" and bool(body[2] & 0x10))
        or (kind == b"hvcC" and body[16] & 3 == 0)
    )


def _clap(body: memoryview) -> tuple[Fraction, ...]:
    wide, wide_of, high, high_of, right, right_of, down, down_of = struct.unpack_from(">IIIIiIiI", body)
    return Fraction(wide, wide_of), Fraction(high, high_of), Fraction(right, right_of), Fraction(down, down_of)


def _primary_properties(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    meta = box(data, b"meta")[4:]
    pitm = box(meta, b"pitm")
    primary = int.from_bytes(pitm[4 : 6 if pitm[0] == 0 else 8], "big")
    properties = list(boxes(box(meta, b"iprp", b"ipco")))
    for kind, body in boxes(box(meta, b"iprp")):
        if kind == b"ipma":
            for index in _associations(body).get(primary, ()):
                if 1 <= index <= len(properties):
                    yield properties[index - 1]


def _associations(ipma: memoryview) -> dict[int, list[int]]:
    """Item -> its properties, counted from 1, in the order in which they are applied."""
    id_bytes, index_bytes = (2 if ipma[0] == 0 else 4), (2 if ipma[3] & 1 else 1)
    found: dict[int, list[int]] = {}
    at = 8
    for _ in range(int.from_bytes(ipma[4:8], "big")):
        item, count = int.from_bytes(ipma[at : at + id_bytes], "big"), ipma[at + id_bytes]
        at += id_bytes + 1
        essential = 1 << (8 * index_bytes - 1)
        end = at + count * index_bytes
        indices = (int.from_bytes(ipma[n : n + index_bytes], "big") for n in range(at, end, index_bytes))
        found[item] = [index & ~essential for index in indices]
        at = end
    return found
