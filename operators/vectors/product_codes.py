"""PQ codes: the vector is cut into M parts, and each part stored as the number of its nearest of 256 centroids.

Jégou, Douze, Schmid 2011, "Product Quantization for Nearest Neighbor Search"; trained and encoded by faiss.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from operators.storage.artifacts import ArtifactError

CENTROIDS = 256
SEED = 20260101
"""Seed of the k-means, so that the same sample gives the same codebook."""


def fit_product(sample_ND: np.ndarray, num_bytes: int) -> dict[str, np.ndarray]:
    """`codebook` (num_bytes, 256, D / num_bytes) float32, by faiss's k-means on (N, D) float32.

    Raises `ArtifactError` where `num_bytes` does not divide D, or the sample has fewer than 256 vectors.
    """
    count, dim = sample_ND.shape
    if dim % num_bytes:
        near = [m for m in range(1, dim + 1) if dim % m == 0]
        fits = ", ".join(str(m) for m in sorted(near, key=lambda m: abs(m - num_bytes))[:4])
        raise ArtifactError(f"pq: {num_bytes} bytes do not divide vectors of length {dim}; near it, these do: {fits}")
    if count < CENTROIDS:
        raise ArtifactError(
            f"pq: {count} vectors are too few to train on, {CENTROIDS} are needed; quantise to int8 or binary instead"
        )
    quantizer = _quantizer(dim, num_bytes)
    # faiss writes a warning to stderr for every part with fewer than 39 vectors a centroid.
    quantizer.cp.min_points_per_centroid = 1
    quantizer.cp.seed = SEED
    quantizer.train(np.ascontiguousarray(sample_ND, np.float32))
    return {"codebook": _centroids(quantizer).reshape(num_bytes, CENTROIDS, dim // num_bytes)}


def _quantizer(dim: int, num_bytes: int) -> Any:
    import faiss

    return faiss.ProductQuantizer(dim, num_bytes, 8)


def _centroids(quantizer: Any) -> np.ndarray:
    import faiss

    flat: np.ndarray = faiss.vector_to_array(quantizer.centroids)
    return flat


class ProductCodec:
    """Encodes by a codebook. A code stands for its parts' centroids, one after the other."""

    value_type = pa.uint8()

    def __init__(self, *, codebook: np.ndarray) -> None:
        import faiss

        self.width, _, part = codebook.shape
        self.dim = self.width * part
        self.codebook = codebook
        self._quantizer = _quantizer(self.dim, self.width)
        faiss.copy_array_to_vector(np.ascontiguousarray(codebook, np.float32).reshape(-1), self._quantizer.centroids)
        self._squares_MC = (codebook**2).sum(2)

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        codes: np.ndarray = self._quantizer.compute_codes(np.ascontiguousarray(vectors_ND, np.float32))
        return codes

    def decode(self, codes_NW: np.ndarray) -> np.ndarray:
        decoded: np.ndarray = self._quantizer.decode(np.ascontiguousarray(codes_NW))
        return decoded

    def scores(self, queries_QD: np.ndarray, codes_NW: np.ndarray) -> np.ndarray:
        """Cosines; the query keeps its own precision: a table of its products with all centroids is summed up per
        code."""
        parts = np.arange(self.width)
        norms_N = np.sqrt(self._squares_MC[parts, codes_NW].sum(1))
        queries_QMd = queries_QD.reshape(len(queries_QD), self.width, -1)
        tables_QMC = np.einsum("qmd,mcd->qmc", queries_QMd, self.codebook)
        lengths_Q = np.linalg.norm(queries_QD, axis=1)
        scores = [
            np.divide(sums, norms_N * length, out=np.zeros_like(sums), where=norms_N * length > 0)
            for table_MC, length in zip(tables_QMC, lengths_Q, strict=True)
            for sums in [table_MC[parts, codes_NW].sum(1)]
        ]
        return np.stack(scores).astype(np.float32) if scores else np.zeros((0, len(codes_NW)), np.float32)
