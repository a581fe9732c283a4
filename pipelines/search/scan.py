"""Nearest rows by brute force: a column is read through once, for any number of queries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.filter_index.trust import answered_by_index
from pipelines.search.column import SearchColumn
from pipelines.space.flat import flat_numpy, max_sim
from pipelines.space.usable_rows import usable_rows

BATCH_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The k best rows for one query, best first."""

    row_ids: np.ndarray
    """(k,) uint64: Lance's `_rowid`."""
    scores: np.ndarray
    """(k,) float32, the nearer the larger, computed from what is stored, whatever an index has estimated: for cosine 1
    for the same direction, for dot the inner product, for l2 minus the distance."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Rows of a batch that have a vector, with their scores."""

    row_ids: np.ndarray
    """(N,) uint64."""
    fragments: np.ndarray
    """(N,) int64: ids of the rows' fragments."""
    scores: list[np.ndarray]
    """(N,) float32 for each query."""
    rows: pa.RecordBatch
    """The column, and the columns asked for beside it."""


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
    """Every row that a search of the column can find, batch by batch. `beside` are columns that are read with it."""
    scanner = dataset.scanner(
        columns=[column.name, *beside],
        filter=where,
        with_row_id=True,
        with_row_address=True,
        batch_size=BATCH_ROWS,
        use_scalar_index=answered_by_index(dataset, where),
    )
    for batch in scanner.to_batches():
        rows = batch.filter(pa.array(findable(column, batch[column.name])))
        if rows.num_rows:
            scores = row_scores(column, queries, rows[column.name])
            fragments = (rows["_rowaddr"].to_numpy() >> 32).astype(np.int64)
            yield Scored(row_ids=rows["_rowid"].to_numpy(), fragments=fragments, scores=scores, rows=rows)


def findable(column: SearchColumn, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(N,) bool: rows that a search of the column finds. For columns that Lance compares, what it finds; for others,
    every row with a value, empty lists too, which come last."""
    if column.searched_by_lance:
        return usable_rows(values, column.metric)
    there: np.ndarray = values.is_valid().to_numpy(zero_copy_only=False)
    return there


def none_yet(queries: int) -> list[Nearest]:
    return [Nearest(row_ids=np.zeros(0, np.uint64), scores=np.zeros(0, np.float32)) for _ in range(queries)]


def keep_best(best: Sequence[Nearest], scored: Scored, k: int) -> list[Nearest]:
    """The k best for each query of those held so far and those that came."""
    return [_merged(held, scored.row_ids, scores, k) for held, scores in zip(best, scored.scores, strict=True)]


def _merged(held: Nearest, row_ids: np.ndarray, scores: np.ndarray, k: int) -> Nearest:
    top = best_of(scores, k)
    all_scores = np.concatenate([held.scores, scores[top]])
    order = best_of(all_scores, k)
    return Nearest(row_ids=np.concatenate([held.row_ids, row_ids[top]])[order], scores=all_scores[order])


def best_of(scores: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k highest, highest first; among equal ones the first come first."""
    if len(scores) > 4 * k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        among = np.flatnonzero(scores >= least)
    else:
        among = np.arange(len(scores))
    order: np.ndarray = among[np.argsort(-scores[among], kind="stable")[:k]]
    return order


def row_scores(column: SearchColumn, queries: Sequence[np.ndarray], vectors: pa.Array) -> list[np.ndarray]:
    """(N,) float32 for each query: its score in every row of `vectors`, none of which is null.

    For lists it is the mean over the query's vectors, and not the sum, so that a row has the score 1 to itself; an
    empty list has -1.
    """
    scores = column.scores(np.concatenate(queries), flat_numpy(vectors))
    counts = np.array([len(query) for query in queries])
    rows = vectors.value_lengths().to_numpy() if column.multivector else np.ones(len(vectors), np.int32)
    means = max_sim(scores, counts, rows) / counts[:, None].astype(np.float32)
    means[np.isneginf(means)] = -1
    return list(means)
