"""Colours said by the code points of ITU-T H.273, as AVIF, HEIF (nclx), AV1 and PNG (cICP) do."""

from functools import lru_cache

import numpy as np

from operators.pixels.colour.hdr import hlg_curve, pq_curve
from operators.pixels.colour.profile import BT709, Coded, Curve, Primaries, gamma_curve, srgb_curve

_WHITE_C = (0.310, 0.316)
_BT601_525 = Primaries(red=(0.630, 0.340), green=(0.310, 0.595), blue=(0.155, 0.070))
_PRIMARIES = {
    1: BT709,
    4: Primaries(red=(0.67, 0.33), green=(0.21, 0.71), blue=(0.14, 0.08), white=_WHITE_C),
    5: Primaries(red=(0.64, 0.33), green=(0.29, 0.60), blue=(0.15, 0.06)),
    6: _BT601_525,
    7: _BT601_525,
    8: Primaries(red=(0.681, 0.319), green=(0.243, 0.692), blue=(0.145, 0.049), white=_WHITE_C),
    9: Primaries(red=(0.708, 0.292), green=(0.170, 0.797), blue=(0.131, 0.046)),
    11: Primaries(red=(0.680, 0.320), green=(0.265, 0.690), blue=(0.150, 0.060), white=(0.314, 0.351)),
    12: Primaries(red=(0.680, 0.320), green=(0.265, 0.690), blue=(0.150, 0.060)),
    22: Primaries(red=(0.630, 0.340), green=(0.295, 0.605), blue=(0.155, 0.077)),
}
"""H.273, table 2: BT.709, BT.470 M, BT.601 (625 and 525 lines), film, BT.2020, DCI P3, Display P3, EBU 3213. All
others, XYZ among them, are taken as BT.709."""
_CURVES: dict[int, Curve] = {
    4: gamma_curve(2.2),
    5: gamma_curve(2.8),
    8: gamma_curve(1.0),
    16: pq_curve,
    17: lambda signal: np.minimum(52.37 / 48 * signal**2.6, 1),
    18: hlg_curve,
}
"""H.273, table 3. The others are sRGB and those of video cameras (BT.709, BT.601, BT.2020 …). Pictures with those are
shown like sRGB, as browsers do: taken by the letter, they would come out lighter than all else shows them."""


def coded_by(primaries: int, transfer: int, *, full_range: bool = True) -> Coded | None:
    """The colours of RGB pixels with these code points; None where they are sRGB or not said.

    Of AVIF and HEIF the decoder has dealt with the range; RGB stored as such in the narrow one has black at 16 and
    white at 235 of 255.
    """
    colours, curve = _PRIMARIES.get(primaries, BT709), _CURVES.get(transfer, srgb_curve)
    if not full_range:
        curve = _narrow(curve)
    if colours is BT709 and curve is srgb_curve:
        return None
    return Coded(primaries=colours, curve=curve)


@lru_cache(maxsize=16)
def _narrow(curve: Curve) -> Curve:
    return lambda signal: curve(np.clip((signal * 255 - 16) / 219, 0, 1))
