"""Binary codes: one bit a dimension, eight to a byte, compared by the number of bits that differ."""

import numpy as np
import pyarrow as pa


def fit_binary(sample_ND: np.ndarray) -> dict[str, np.ndarray]:
    """`thresholds` (D,) float32: the median of each dimension in (N, D) float32.

    A threshold of zero would do for features around zero. Those of many networks end in a ReLU and are never negative:
    with zero every bit would be 1, with the median half of them are.
    """
    return {"thresholds": np.median(sample_ND, axis=0).astype(np.float32)}


class BinaryCodec:
    """Bit d is 1 where component d is over its threshold; the first dimension is the highest bit of the first byte."""

    value_type = pa.uint8()

    def __init__(self, *, thresholds: np.ndarray) -> None:
        self.thresholds = thresholds
        self.dim = len(thresholds)
        self.width = -(-self.dim // 8)

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        return np.packbits(vectors_ND > self.thresholds, axis=1)

    def decode(self, codes_NW: np.ndarray) -> np.ndarray:
        """Vectors one step over or under each threshold, which encode to the same bits again."""
        bits = np.unpackbits(codes_NW, axis=1, count=self.dim).astype(np.float32)
        decoded: np.ndarray = self.thresholds + (2 * bits - 1) * (np.abs(self.thresholds) + 1)
        return decoded

    def scores(self, queries_QD: np.ndarray, codes_NW: np.ndarray) -> np.ndarray:
        """The cosine between the vectors of +1 and -1 that the bits stand for: 1 - 2 x differing bits / dim."""
        return hamming_scores(_hamming(self.encode(queries_QD), codes_NW), self.dim)


def hamming_scores(differing: np.ndarray, dim: int) -> np.ndarray:
    """Counts of differing bits turned into cosines, float32."""
    scores: np.ndarray = (1 - 2 * differing / np.float32(dim)).astype(np.float32)
    return scores


def _hamming(queries_QW: np.ndarray, codes_NW: np.ndarray) -> np.ndarray:
    """(Q, N) int64: how many bits differ."""
    differing = [np.bitwise_count(query ^ codes_NW).sum(1, dtype=np.int64) for query in queries_QW]
    return np.stack(differing) if differing else np.zeros((0, len(codes_NW)), np.int64)
