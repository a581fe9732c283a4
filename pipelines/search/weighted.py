"""Several vectors as one: like these, and unlike those."""

from collections.abc import Sequence

import numpy as np

NOTHING_LEFT = 1e-3
"""The length of a sum, over that of its parts, below which it is rounding and no direction."""


def weighted_sum(parts: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """(1, D) float32: the direction of the weighted sum of the parts, (1, D) each, at unit length.

    Each part counts by its weight alone, not by its length. The length of the sum is the mean of the parts' lengths
    by weight, which is 1 where vectors are normalised. Raises `ValueError` where a part has several vectors, and where
    nothing is left of the sum.
    """
    if any(len(part) != 1 for part in parts):
        raise ValueError("a row holds several vectors here (regions as a list), of which there is no sum; ask by one")
    stacked = np.concatenate(parts).astype(np.float32)
    lengths = np.linalg.norm(stacked, axis=1)
    strength = np.abs(np.asarray(weights, np.float32))
    total = (np.asarray(weights, np.float32) / np.maximum(lengths, np.finfo(np.float32).tiny)) @ stacked
    length = float(np.linalg.norm(total))
    if not length > NOTHING_LEFT * strength.sum():
        raise ValueError("what it is to be like and what it is to be unlike cancel each other out")
    summed: np.ndarray = (total / length * float(strength @ lengths / strength.sum()))[None].astype(np.float32)
    return summed
