"""The cosine between vectors, which a score of a search is unless an index has another metric."""

import numpy as np


def cosines(queries_QD: np.ndarray, vectors_ND: np.ndarray) -> np.ndarray:
    """(Q, N) float32, 1 for the same direction. A vector of zeros has the cosine 0 to all."""
    norms = np.linalg.norm(queries_QD, axis=1)[:, None] * np.linalg.norm(vectors_ND, axis=1)[None]
    products: np.ndarray = queries_QD @ vectors_ND.T
    scores: np.ndarray = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return scores
