"""Vectors stored as floats, and their similarity by each metric of an index, the nearer the larger."""

from typing import Literal

import numpy as np
import pyarrow as pa


def cosines(queries_QD: np.ndarray, vectors_ND: np.ndarray) -> np.ndarray:
    """(Q, N) float32, 1 for the same direction. A vector of zeros has the cosine 0 to every other."""
    norms = np.linalg.norm(queries_QD, axis=1)[:, None] * np.linalg.norm(vectors_ND, axis=1)[None]
    products: np.ndarray = queries_QD @ vectors_ND.T
    scores: np.ndarray = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return scores


FloatMetric = Literal["cosine", "dot", "l2"]


def float_scores(queries_QD: np.ndarray, vectors_ND: np.ndarray, metric: FloatMetric) -> np.ndarray:
    """(Q, N) float32 from (Q, D) and (N, D) float32: the cosine, the inner product, or minus the Euclidean distance."""
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


FLOATS: dict[str, pa.DataType] = {"float32": pa.float32(), "float16": pa.float16()}


class FloatCodec:
    """Stores vectors themselves, as float32 or float16."""

    def __init__(self, dim: int, precision: str) -> None:
        self.dim = self.width = dim
        self.precision = precision
        self.value_type = FLOATS[precision]

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return vectors_ND.astype(self.precision)

    def decode(self, codes_NW: np.ndarray) -> np.ndarray:
        return codes_NW.astype(np.float32)

    def scores(self, queries_QD: np.ndarray, codes_NW: np.ndarray) -> np.ndarray:
        return cosines(queries_QD, codes_NW.astype(np.float32))
