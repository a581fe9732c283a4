"""The true nearest rows to many queries at once, in one pass over the table: what an index is measured against."""

from collections.abc import Sequence
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa

from operators.storage.stores import StorageOptions, lance_options
from pipelines.space.flat import FlatVectors, Metric, comparable, flat_vectors, max_sim, similarity
from pipelines.space.usable_rows import usable_rows

_BATCH_ROWS = 4096


class Queries(NamedTuple):
    """Rows of a table that are searched for."""

    row_ids: np.ndarray
    """(Q,) int64 of Lance's row ids."""
    vectors: FlatVectors


class Neighbors(NamedTuple):
    """For each query the nearest rows, the nearest first."""

    row_ids: np.ndarray
    """(Q, k) int64; -1 where there are fewer."""
    scores: np.ndarray
    """(Q, k) float32, the nearer the larger; minus infinity where there are fewer."""
    without_vector: int = 0
    """Rows looked at that have nothing in the column."""
    without_direction: int = 0
    """Rows that no search by the metric finds: a number that is not finite; by cosine, a vector of zeros."""


def draw_queries(dataset: "lance.LanceDataset", column: str, count: int, seed: int) -> Queries:
    """Up to `count` different rows that have a vector with a direction, at random."""
    rows = dataset.count_rows()
    drawn = np.random.default_rng(seed).choice(rows, min(count, rows), replace=False)
    table = dataset.take(np.sort(drawn), columns=[column, "_rowid"])
    vectors = flat_vectors(table[column])
    # Where hamming compares bits, none are without.
    there = usable_rows(table[column], "cosine")
    values = vectors.values[np.repeat(there, vectors.counts)]
    starts = np.concatenate([[0], np.cumsum(vectors.counts[there])])
    return Queries(table["_rowid"].to_numpy()[there].astype(np.int64), FlatVectors(values, starts))


def exact_neighbors(
    uri: str,
    version: int,
    storage: StorageOptions,
    column: str,
    queries: Queries,
    metric: Metric,
    k: int,
    fragments: Sequence[int],
) -> Neighbors:
    """Among the rows of some fragments, the `k` nearest to each query, the query's own row left out, and rows that no
    search by the metric finds."""
    dataset = lance.dataset(uri, version=version, storage_options=lance_options(uri, storage))
    wanted = comparable(queries.vectors.values, metric)
    scanner = dataset.scanner(
        columns=[column],
        with_row_id=True,
        fragments=[dataset.get_fragment(fragment) for fragment in fragments],
        batch_size=_BATCH_ROWS,
    )
    found = nobody(len(queries.row_ids), k)
    for batch in scanner.to_batches():
        rows = flat_vectors(pa.chunked_array([batch[column]]))
        with np.errstate(invalid="ignore", over="ignore"):
            similarities = similarity(wanted, comparable(rows.values, metric), metric)
        scores = max_sim(similarities, queries.vectors.counts, rows.counts)
        usable = usable_rows(batch[column], metric)
        scores[:, ~usable] = -np.inf
        ids = batch["_rowid"].to_numpy().astype(np.int64)
        scores[queries.row_ids[:, None] == ids[None, :]] = -np.inf
        empty = int((rows.counts == 0).sum())
        here = Neighbors(np.broadcast_to(ids, scores.shape), scores, empty, int((~usable).sum()) - empty)
        found = nearest_of([found, here], k)
    return found


def nobody(queries: int, k: int) -> Neighbors:
    return Neighbors(np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32))


def nearest_of(parts: Sequence[Neighbors], k: int) -> Neighbors:
    """The `k` nearest of all parts together."""
    row_ids = np.concatenate([part.row_ids for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    lacking = sum(part.without_vector for part in parts), sum(part.without_direction for part in parts)
    # The selection first: sorting whole rows of a batch takes longer than comparing them.
    kept = np.argpartition(-scores, k - 1, axis=1)[:, :k] if scores.shape[1] > k else None
    if kept is not None:
        row_ids, scores = np.take_along_axis(row_ids, kept, 1), np.take_along_axis(scores, kept, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return Neighbors(np.take_along_axis(row_ids, order, 1), np.take_along_axis(scores, order, 1), *lacking)
