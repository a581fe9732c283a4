"""A sample of a table's rows that depends on the rows alone: not on fragments or on their order."""

import numpy as np


def row_sample(keys: np.ndarray, fraction: float) -> np.ndarray:
    """(N,) bool: which position keys (N,) int64 are in the sample, about `fraction` (0 to 1) of any.

    Those whose hash is small, so a larger sample holds every smaller one. The hash is the mixer of G. L. Steele,
    D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators" (2014), known as splitmix64.
    """
    mixed = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    sampled: np.ndarray = mixed < np.uint64(min(int(fraction * 2.0**64), 2**64 - 1))
    return sampled
