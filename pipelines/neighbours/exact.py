"""Nearest rows by brute force: a column is read through once, batch by batch, for any number of queries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.neighbours.nearest import NOBODY, Nearest, best_of

Compare = Callable[[pa.Array], np.ndarray]
"""From the vectors of N rows, all of which can be found, to (Q, N) float32: their scores, the nearer the larger."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Rows of a batch that can be found, with their scores."""

    row_ids: np.ndarray
    """(N,) uint64."""
    scores: np.ndarray
    """(Q, N) float32."""
    rows: pa.RecordBatch
    """The rows, with all columns that were read."""


def score(batch: pa.RecordBatch, column: str, findable: np.ndarray, compare: Compare) -> Scored:
    """The rows of a batch, with its `_rowid`, for which `findable` (N,) bool is true; it must be for one at least."""
    rows = batch if findable.all() else batch.filter(pa.array(findable))
    return Scored(row_ids=rows["_rowid"].to_numpy(), scores=compare(rows[column]), rows=rows)


def none_yet(queries: int) -> list[Nearest]:
    """The best rows for each query before the first batch: none."""
    return [NOBODY] * queries


def keep_best(best: Sequence[Nearest], scored: Scored, k: int) -> list[Nearest]:
    """The k best for each query of those held so far and those that came; among equal ones those that came first."""
    # Of many queries few have a better row in a batch, once some are read.
    worst = np.array([held.scores[-1] if len(held.scores) == k else -np.inf for held in best], np.float32)
    better = ~(scored.scores.max(axis=1) <= worst)
    return [
        _merged(held, scored.row_ids, scores, k) if any_better else held
        for held, scores, any_better in zip(best, scored.scores, better.tolist(), strict=True)
    ]


def _merged(held: Nearest, row_ids: np.ndarray, scores: np.ndarray, k: int) -> Nearest:
    if len(held.scores) == k:
        # Few rows of a later batch are better than the worst that is held.
        better = np.flatnonzero(~(scores <= held.scores[-1]))
        if not len(better):
            return held
        row_ids, scores = row_ids[better], scores[better]
    top = best_of(scores, k)
    all_scores = np.concatenate([held.scores, scores[top]])
    order = best_of(all_scores, k)
    return Nearest(row_ids=np.concatenate([held.row_ids, row_ids[top]])[order], scores=all_scores[order])
