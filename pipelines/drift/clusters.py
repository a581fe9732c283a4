"""Clusters of what was there before, by which two samples are counted."""

import numpy as np

MOST = 64
_ROWS_A_CLUSTER = 20
_ITERATIONS = 20


def cluster_centres(vectors_ND: np.ndarray, *, seed: int) -> np.ndarray:
    """(C, D) float32 centres of k-means (faiss) on (N, D) float32: 64, or one for twenty rows."""
    import faiss

    kmeans = faiss.Kmeans(
        vectors_ND.shape[1],
        max(1, min(MOST, len(vectors_ND) // _ROWS_A_CLUSTER)),
        niter=_ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors_ND),
    )
    kmeans.train(np.ascontiguousarray(vectors_ND, np.float32))
    return np.asarray(kmeans.centroids, np.float32)


def nearest_centres(vectors_ND: np.ndarray, centres_CD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the nearest centre of each vector (N,) int64, the Euclidean distance to it (N,) float32)."""
    import faiss

    index = faiss.IndexFlatL2(centres_CD.shape[1])
    index.add(centres_CD)
    squares, nearest = index.search(np.ascontiguousarray(vectors_ND, np.float32), 1)
    return nearest[:, 0], np.sqrt(np.maximum(squares[:, 0], 0))
