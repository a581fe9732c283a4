"""ICC profiles made from numbers: where a file says its colours in another way than by a profile."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Chromaticity = tuple[float, float]
"""CIE 1931 (x, y)."""
Curve = Callable[[np.ndarray], np.ndarray]
"""Signal (N,) float64 from 0 to 1 -> light that the display gives, 1 being its white."""

CODED = "coded_colours"
"""Where the `info` of a Pillow image has the `Coded` of its file."""
D65: Chromaticity = (0.3127, 0.3290)
_D50 = np.array([0.9642, 1.0, 0.8249])
"""XYZ of the white of all ICC profiles."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""To the cone responses by which ICC.1:2022, annex E, takes other whites to D50."""


@dataclass(frozen=True, kw_only=True)
class Primaries:
    """What full red, green, blue and white look like."""

    red: Chromaticity
    green: Chromaticity
    blue: Chromaticity
    white: Chromaticity = D65


BT709 = Primaries(red=(0.64, 0.33), green=(0.30, 0.60), blue=(0.15, 0.06))


@dataclass(frozen=True, kw_only=True)
class Coded:
    """Colours said in numbers and not by a profile."""

    primaries: Primaries
    curve: Curve

    def profile(self) -> bytes:
        """An ICC profile for RGB pixels."""
        return _profile(self.primaries, self.curve)


def srgb_curve(signal: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


@lru_cache(maxsize=16)
def gamma_curve(gamma: float) -> Curve:
    """signal ** gamma; the same object for the same `gamma`, by which made profiles are kept."""
    return lambda signal: signal**gamma


@lru_cache(maxsize=16)
def _profile(primaries: Primaries, curve: Curve) -> bytes:
    light = np.clip(curve(np.arange(256) / 255), 0, 1)
    # One entry for each level of 8 bits, which are met exactly.
    trc = b"curv" + struct.pack(">II256H", 0, 256, *np.round(light * 65535).astype(int).tolist())
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), _to_d50(primaries).T, strict=True)
    tags = {b"wtpt": _xyz(_D50)} | {name: _xyz(column) for name, column in columns}
    return _file(tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), trc))


def _to_d50(primaries: Primaries) -> np.ndarray:
    """(3, 3): linear RGB to XYZ under D50, white to white."""
    corners = np.array([_of_xy(xy) for xy in (primaries.red, primaries.green, primaries.blue)]).T
    white = _of_xy(primaries.white)
    to_xyz = corners * np.linalg.solve(corners, white)
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: np.ndarray = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ to_xyz
    return adapted


def _of_xy(xy: Chromaticity) -> np.ndarray:
    x, y = xy
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + struct.pack(">I3i", 0, *np.round(values * 65536).astype(int).tolist())


def _file(tags: dict[bytes, bytes]) -> bytes:
    """The tags behind the header of ICC.1:2001: a display profile of version 2.4."""
    start, table, body = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
