"""A vector column as one matrix, whatever its elements, with one vector a row or several; and the similarity of
vectors."""

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from operators.base.arrays import flatten_lists, vectors_to_numpy
from operators.vectors.apply import vector_type

Metric = Literal["cosine", "l2", "dot", "hamming"]


class FlatVectors(NamedTuple):
    """The vectors of N rows below each other."""

    values: np.ndarray
    """(M, dim), as stored."""
    starts: np.ndarray
    """(N + 1,) int64: row `i` has the vectors from `starts[i]` up to `starts[i + 1]`; none where it is null."""

    @property
    def counts(self) -> np.ndarray:
        """(N,): how many vectors each row has."""
        return np.diff(self.starts)


def flat_vectors(column: pa.ChunkedArray) -> FlatVectors:
    """The vectors of a column of fixed-size lists, or of lists of them."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_fixed_size_list(column.type):
        counts = array.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
        vectors = array.drop_null()
    else:
        counts = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        vectors = array.flatten()
    values = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, vector_type(column.type).list_size)
    return FlatVectors(values, np.concatenate([[0], np.cumsum(counts)]))


def comparable(values: np.ndarray, metric: Metric) -> np.ndarray:
    """Vectors as (M, dim) float32 that `similarity` can multiply: unit vectors for `cosine`, bits as -1 and 1 for
    `hamming` (dim is then 8 times the bytes)."""
    if metric == "hamming":
        return np.unpackbits(values, axis=1).astype(np.float32) * 2 - 1
    floats = values.astype(np.float32)
    if metric == "cosine":
        floats /= np.maximum(np.linalg.norm(floats, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return floats


def similarity(queries: np.ndarray, vectors: np.ndarray, metric: Metric) -> np.ndarray:
    """(Q, M), the nearer the larger, for `comparable` vectors (Q, D) and (M, D)."""
    products: np.ndarray = queries @ vectors.T
    if metric == "l2":
        # Up to the query's own square, which is the same for all it is compared with.
        products = 2 * products - np.square(vectors).sum(axis=1)
    return products


def max_sim(similarities: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(Q, N) from a matrix of shape (sum of `queries`, sum of `rows`), where these count the vectors of each query and
    each row: the sum over a query's vectors of the best among the row's (MaxSim: Khattab, Zaharia 2020, "ColBERT"). A
    row without vectors is infinitely far."""
    if not (rows == 1).all():
        best = np.full((len(similarities), len(rows)), -np.inf, np.float32)
        starts = np.cumsum(rows) - rows
        best[:, rows > 0] = np.maximum.reduceat(similarities, starts[rows > 0], axis=1)
        similarities = best
    if (queries == 1).all():
        return similarities
    sums: np.ndarray = np.add.reduceat(similarities, np.cumsum(queries) - queries, axis=0)
    return sums


def flat_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(M, width): all vectors of a column without nulls, those in lists one after the other."""
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return vectors_to_numpy(flatten_lists(column)[0] if pa.types.is_list(column.type) else column)
