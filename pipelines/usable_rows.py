"""Which rows of a vector column a search by a metric can find: what has nothing, or no direction, it passes over."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.flat_vectors import FlatVectors, flat_vectors
from pipelines.index_records import Metric

_BLOCK = 4096
"""Vectors whose squares are held at once: 20 MB of 1,280 numbers."""


class RowKinds(NamedTuple):
    """What rows of a vector column hold, each (N,) bool; the rest of the rows is whole."""

    nothing: np.ndarray
    """Null, or a list without vectors."""
    not_finite: np.ndarray
    """A NaN or an infinity in it: no search gives what it is worth."""
    zeros: np.ndarray
    """A vector of zeros alone, which has no direction. One hides a row of several."""


def row_kinds(column: pa.Array | pa.ChunkedArray) -> RowKinds:
    """Of vectors of floats; codes and packed bits are either there or not."""
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    vectors = flat_vectors(column)
    nothing = vectors.counts == 0
    if not np.issubdtype(vectors.values.dtype, np.floating):
        return RowKinds(nothing, np.zeros(len(nothing), bool), np.zeros(len(nothing), bool))
    squares = [_squares(vectors.values[at : at + _BLOCK]) for at in range(0, len(vectors.values), _BLOCK)]
    squares_M = np.concatenate(squares) if squares else np.zeros(0, np.float32)
    not_finite = _any_of_row(~np.isfinite(squares_M), vectors)
    return RowKinds(nothing, not_finite, _any_of_row(squares_M == 0, vectors) & ~not_finite)


def usable_rows(column: pa.Array | pa.ChunkedArray, metric: Metric) -> np.ndarray:
    """(N,) bool: rows that a search by the metric can find, as Lance does it. By cosine a row needs a direction."""
    kinds = row_kinds(column)
    lacking = kinds.nothing | kinds.not_finite
    usable: np.ndarray = ~(lacking | kinds.zeros) if metric == "cosine" else ~lacking
    return usable


def _squares(values_MD: np.ndarray) -> np.ndarray:
    """(M,) float32: finite where all numbers are, 0 where all are 0, whatever the squares of very large or very small
    ones come to."""
    floats = values_MD.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        squares: np.ndarray = np.einsum("md,md->m", floats, floats)
    doubtful = np.flatnonzero(~np.isfinite(squares) | (squares == 0))
    if len(doubtful):
        finite = np.isfinite(floats[doubtful]).all(1)
        squares[doubtful] = np.where(finite, floats[doubtful].any(1), np.nan)
    return squares


def _any_of_row(bad_M: np.ndarray, vectors: FlatVectors) -> np.ndarray:
    """(N,): whether any vector of the row is bad."""
    counted = np.concatenate([[0], np.cumsum(bad_M)])
    bad: np.ndarray = np.diff(counted[vectors.starts]) > 0
    return bad
