"""PQ and HLG on a display of standard range: the light of each signal level, highlights rolled off.

Up to about 90 cd/m2 all is shown as it is, with diffuse white at 203 cd/m2 (ITU-R BT.2408). What is brighter, up to
1,000 cd/m2, is bent below that white by the curve of ITU-R BT.2390-11, 5.4.1; the rest is white. Each channel alone.
"""

import numpy as np

_WHITE = 203.0
_PEAK = 1000.0
"""cd/m2: the display that HLG is described on, and that PQ pictures are commonly made on. What a file says of its own
display and brightest pixel is not asked."""


def pq_curve(signal: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084."""
    return _rolled_off(np.minimum(signal, _pq_signal(_PEAK)))


def hlg_curve(signal: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100, its system gamma of 1.2 taken for each channel alone."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return _rolled_off(_pq_signal(_PEAK * scene**1.2))


def _rolled_off(signal: np.ndarray) -> np.ndarray:
    """PQ signal up to `_PEAK` -> light from 0 to 1 at `_WHITE`."""
    peak, white = _pq_signal(_PEAK), _pq_signal(_WHITE) / _pq_signal(_PEAK)
    knee = 1.5 * white - 0.5
    bright = signal / peak
    t = (bright - knee) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    light: np.ndarray = _pq_light(np.where(bright < knee, bright, bent) * peak) / _WHITE
    return light


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_light(signal: np.ndarray) -> np.ndarray:
    root = np.asarray(signal) ** (1 / _M2)
    light: np.ndarray = 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return light


def _pq_signal(light: np.ndarray | float) -> np.ndarray:
    root = (np.asarray(light) / 10_000) ** _M1
    signal: np.ndarray = ((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2
    return signal
