"""The score of each row of a column for queries that are brought to it, and the best rows of all."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.filter_index.trust import answered_by_index
from pipelines.neighbours.exact import Scored, keep_best, none_yet, score
from pipelines.neighbours.nearest import Nearest
from pipelines.search.column import SearchColumn
from pipelines.space.flat import flat_numpy, max_sim
from pipelines.space.usable_rows import usable_rows

_BATCH_ROWS = 8192
_SCORES = 1 << 26
"""Scores that are held at once, 256 MiB: with many queries, batches have fewer rows."""


def scan(
    dataset: Any, column: SearchColumn, queries: Sequence[np.ndarray], k: int, *, where: str | None = None
) -> list[Nearest]:
    """The k best rows for each query, (M, dim) float32. Memory: one batch, and k rows a query.

    Among rows with the same score, those read first are kept. Raises `ValueError` or `OSError` as Lance does.
    """
    best = none_yet(len(queries))
    for scored in scored_batches(dataset, column, queries, where=where):
        best = keep_best(best, scored, k)
    return best


def scored_batches(
    dataset: Any,
    column: SearchColumn,
    queries: Sequence[np.ndarray],
    *,
    beside: Sequence[str] = (),
    where: str | None = None,
) -> Iterator[Scored]:
    """Every row that a search of the column can find, batch by batch. `beside` are columns that are read with it, as is
    `_rowaddr`."""
    scanner = dataset.scanner(
        columns=[column.name, *beside],
        filter=where,
        with_row_id=True,
        with_row_address=True,
        batch_size=max(1, min(_BATCH_ROWS, _SCORES // sum(map(len, queries)))),
        use_scalar_index=answered_by_index(dataset, where),
    )
    for batch in scanner.to_batches():
        there = findable(column, batch[column.name])
        if there.any():
            yield score(batch, column.name, there, partial(row_scores, column, queries))


def findable(column: SearchColumn, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(N,) bool: rows that a search of the column finds. For columns that Lance compares, what it finds; for others,
    every row with a value, empty lists too, which come last."""
    if column.searched_by_lance:
        return usable_rows(values, column.metric)
    there: np.ndarray = values.is_valid().to_numpy(zero_copy_only=False)
    return there


def row_scores(column: SearchColumn, queries: Sequence[np.ndarray], vectors: pa.Array) -> np.ndarray:
    """(Q, N) float32: the score of each query in every row of `vectors`, none of which is null.

    For lists it is the mean over the query's vectors, and not the sum, so that a row has the score 1 to itself; an
    empty list has -1.
    """
    scores = column.scores(np.concatenate(queries), flat_numpy(vectors))
    counts = np.array([len(query) for query in queries])
    rows = vectors.value_lengths().to_numpy() if column.multivector else np.ones(len(vectors), np.int32)
    means: np.ndarray = max_sim(scores, counts, rows) / counts[:, None].astype(np.float32)
    means[np.isneginf(means)] = -1
    return means
