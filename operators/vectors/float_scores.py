"""How near float vectors are by each metric of an index, the nearer the larger."""

from typing import Literal

import numpy as np

from operators.vectors.cosine import cosines

FloatMetric = Literal["cosine", "dot", "l2"]


def float_scores(queries_QD: np.ndarray, vectors_ND: np.ndarray, metric: FloatMetric) -> np.ndarray:
    """(Q, N) float32 of (Q, D) and (N, D) float32: the cosine, the inner product, or minus the Euclidean distance."""
    if metric == "cosine":
        return cosines(queries_QD, vectors_ND)
    if metric == "dot":
        products: np.ndarray = queries_QD @ vectors_ND.T
        return products
    # In float64: the distance of two copies would come to 3e-4 of their length in float32, here to 1e-7.
    queries, vectors = queries_QD.astype(np.float64), vectors_ND.astype(np.float64)
    squares = (queries**2).sum(1)[:, None] + (vectors**2).sum(1)[None] - 2 * (queries @ vectors.T)
    distances: np.ndarray = np.sqrt(np.maximum(squares, 0)).astype(np.float32)
    return -distances
