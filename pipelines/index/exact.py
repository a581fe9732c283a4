"""The true nearest rows to many queries at once, in one pass over the table: what an index is measured against."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa

from pipelines.neighbours.exact import keep_best, none_yet, score
from pipelines.neighbours.nearest import Nearest, nearest_of
from pipelines.neighbours.queries import Queries, queries_of
from pipelines.space.flat import Metric, comparable, flat_vectors, max_sim, similarity
from pipelines.space.samples import draw_rows
from pipelines.space.usable_rows import row_kinds, usable_rows
from pipelines.table.table import Table

_BATCH_ROWS = 4096


class Exact(NamedTuple):
    """The result of comparing with every row, and how many rows no search finds."""

    nearest: list[Nearest]
    """For each query the nearest rows, scored by `similarity` of what is stored."""
    without_vector: int
    """Rows read that have nothing in the column."""
    without_direction: int
    """Rows with a number that is not finite; for cosine, those with a vector of zeros."""


def draw_queries(dataset: "lance.LanceDataset", column: str, count: int, seed: int) -> Queries:
    """Up to `count` different rows at random, without those that have no direction."""
    rows = pa.concat_tables(draw_rows(dataset, [column, "_rowid"], count, seed))
    # Where hamming compares bits, none are without a direction.
    return queries_of(rows.filter(pa.array(usable_rows(rows[column], "cosine"))), column)


def exact_neighbors(
    table: Table,
    version: int,
    column: str,
    queries: Queries,
    metric: Metric,
    k: int,
    fragments: Sequence[int],
) -> Exact:
    """The `k` nearest to each query among the rows of some fragments, without the query's own row and rows that no
    search by the metric finds."""
    dataset = table.at(version)
    scanner = dataset.scanner(
        columns=[column],
        with_row_id=True,
        fragments=[dataset.get_fragment(fragment) for fragment in fragments],
        batch_size=_BATCH_ROWS,
    )
    compare = partial(_compare, comparable(np.concatenate(queries.vectors), metric), queries.counts, metric)
    best, empty, unusable = none_yet(len(queries)), 0, 0
    depth = k + max(len(each) for each in queries.left_out)
    for batch in scanner.to_batches():
        kinds = row_kinds(batch[column])
        usable = kinds.usable(metric)
        empty += int(kinds.nothing.sum())
        unusable += int((~usable).sum())
        if usable.any():
            best = keep_best(best, score(batch, column, usable, compare), depth)
    others = [found.without(own).first(k) for found, own in zip(best, queries.left_out, strict=True)]
    return Exact(others, empty, unusable - empty)


def exact_of(parts: Sequence[Exact], k: int) -> Exact:
    """The `k` nearest over all parts."""
    nearest = nearest_of([part.nearest for part in parts], k)
    return Exact(nearest, sum(part.without_vector for part in parts), sum(part.without_direction for part in parts))


def _compare(wanted: np.ndarray, counts: np.ndarray, metric: Metric, vectors: pa.Array) -> np.ndarray:
    rows = flat_vectors(pa.chunked_array([vectors]))
    with np.errstate(invalid="ignore", over="ignore"):
        similarities = similarity(wanted, comparable(rows.values, metric), metric)
    return max_sim(similarities, counts, rows.counts)
