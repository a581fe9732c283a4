"""int8 codes: each dimension's range in a sample, cut into 255 equal steps."""

import numpy as np
import pyarrow as pa

from operators.vectors.float_codes import cosines

STEPS = 127
"""Largest code; codes go from -127 to 127: symmetric, so that the middle of the range is exact."""


def fit_scalar(sample_ND: np.ndarray) -> dict[str, np.ndarray]:
    """`scale` and `offset` (D,) float32 of the range of each dimension in (N, D) float32.

    A dimension that does not vary gets the scale 0, and one code for every value.
    """
    low, high = sample_ND.min(0).astype(np.float64), sample_ND.max(0).astype(np.float64)
    scale, offset = (high - low) / (2 * STEPS), (high + low) / 2
    return {"scale": scale.astype(np.float32), "offset": offset.astype(np.float32)}


class ScalarCodec:
    """Encodes by ranges. A code stands for `code * scale + offset`; a value outside the sample's range is clipped to
    its end."""

    value_type = pa.int8()

    def __init__(self, *, scale: np.ndarray, offset: np.ndarray) -> None:
        self.scale, self.offset = scale, offset
        self.dim = self.width = len(scale)
        self._inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        steps = np.rint((vectors_ND - self.offset) * self._inverse)
        codes: np.ndarray = np.clip(steps, -STEPS, STEPS).astype(np.int8)
        return codes

    def decode(self, codes_NW: np.ndarray) -> np.ndarray:
        decoded: np.ndarray = codes_NW.astype(np.float32) * self.scale + self.offset
        return decoded

    def scores(self, queries_QD: np.ndarray, codes_NW: np.ndarray) -> np.ndarray:
        """Cosines; the query keeps its own precision."""
        return cosines(queries_QD, self.decode(codes_NW))
