"""The colours of a PNG by its chunks, besides an ICC profile."""

import struct
from collections.abc import Mapping

from operators.pixels.colour.cicp import coded_by
from operators.pixels.colour.profile import BT709, Coded, Primaries, gamma_curve, srgb_curve

_SRGB_GAMMA = 1 / 2.2
_SAME_GAMMA = 0.05
"""Share by which a gamma may differ from another and mean the same: libpng's own threshold. With the primaries of sRGB,
45455, which programs write for it, stands for the curve of sRGB and not for a power of 2.2."""


def is_coded(chunks: Mapping[bytes, bytes]) -> bool:
    """Whether cICP says all about the colours, an ICC profile or not."""
    return _cicp(chunks) is not None


def coded_colours(chunks: Mapping[bytes, bytes]) -> Coded | None:
    """The colours by cICP, or else by gAMA and cHRM; None where they are sRGB, as with a chunk sRGB, or not said.

    In the order of the PNG specification, third edition, 4.3. `chunks`: kind -> body.
    """
    if cicp := _cicp(chunks):
        return coded_by(cicp[0], cicp[1], full_range=cicp[3] == 1)
    if b"sRGB" in chunks:
        return None
    gamma, primaries = _gamma(chunks.get(b"gAMA", b"")), _primaries(chunks.get(b"cHRM", b"")) or BT709
    if gamma is None or (primaries == BT709 and abs(gamma / _SRGB_GAMMA - 1) <= _SAME_GAMMA):
        return None if primaries == BT709 else Coded(primaries=primaries, curve=srgb_curve)
    return Coded(primaries=primaries, curve=gamma_curve(1 / gamma))


def _cicp(chunks: Mapping[bytes, bytes]) -> bytes | None:
    """Primaries, transfer, matrix and full range, where PNG allows them: its pixels are RGB."""
    cicp = chunks.get(b"cICP", b"")
    return cicp if len(cicp) == 4 and cicp[2] == 0 and cicp[3] <= 1 else None


def _gamma(chunk: bytes) -> float | None:
    """The exponent that the pixels were encoded with."""
    gamma = int.from_bytes(chunk, "big") / 100_000 if len(chunk) == 4 else 0.0
    return gamma if 0.05 <= gamma <= 20 else None


def _primaries(chunk: bytes) -> Primaries | None:
    """`BT709` itself for what differs from it by no more than rounding."""
    if len(chunk) != 32:
        return None
    white, red, green, blue = ((x / 1e5, y / 1e5) for x, y in struct.iter_unpack(">II", chunk))
    known = (*BT709.white, *BT709.red, *BT709.green, *BT709.blue)
    if max(abs(a - b) for a, b in zip((*white, *red, *green, *blue), known, strict=True)) < 0.001:
        return BT709
    return Primaries(red=red, green=green, blue=blue, white=white)
