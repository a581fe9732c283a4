"""Whether a network tells images of this kind apart at all: how many different ones they seem to be, and how
alike any two are."""

import numpy as np


def effective_rank(unit_ND: np.ndarray) -> float:
    """The exponential of the entropy of the eigenvalues of the cosines' matrix: as many images at right angles to each
    other would have it; 1 where all look the same. Roy and Vetterli 2007, "The effective rank: a measure of effective
    dimensionality", of the eigenvalues as in Friedman and Dieng 2023, "The Vendi Score". `unit_ND` are of unit length.
    At most min(N, D), so only figures of as many images can be compared."""
    values = np.linalg.svd(unit_ND, compute_uv=False).astype(np.float64) ** 2
    total = values.sum()
    if not total > 0:
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def mean_pair_cosine(unit_ND: np.ndarray) -> float:
    """The mean cosine of two different images, over all pairs of (N, D) vectors of unit length: near 0 where vectors
    use all directions, near 1 where all images look the same to the network. Ethayarajh 2019, "How Contextual are
    Contextualized Word Representations?", calls it anisotropy."""
    count = len(unit_ND)
    if count < 2:
        return float("nan")
    summed = unit_ND.sum(axis=0, dtype=np.float64)
    return float((summed @ summed - (unit_ND.astype(np.float64) ** 2).sum()) / (count * (count - 1)))
