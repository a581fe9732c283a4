"""What each way of searching finds of the true neighbours, what it says of labels, and how long a query takes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipelines.evaluation.labels import AveragePrecision, Labels, majority
from pipelines.evaluation.ways import Way, ways_of
from pipelines.neighbours.exact import Scored, keep_best, none_yet
from pipelines.neighbours.latency import latency, milliseconds
from pipelines.neighbours.nearest import Nearest
from pipelines.neighbours.queries import Queries
from pipelines.neighbours.recall import recall
from pipelines.search.column import SearchColumn
from pipelines.search.nearest import CANDIDATES, nearest, rank_rows, take_rows
from pipelines.search.scan import scored_batches
from pipelines.space.flat import Metric

KS = (1, 10, 100)
TIMED_K = 10
TIMED_S = 5.0
"""Seconds after which no more queries of a way are timed."""

Found = Mapping[int, list[np.ndarray]]
"""k -> for each query the row ids found, the nearest first, without the query's own."""


@dataclass(frozen=True, kw_only=True)
class MeasuredWay:
    """The measurements of one way."""

    way: Way
    recall: dict[int, float]
    """recall@k: k -> mean share of the true nearest k, by the base column in float32, among the k found."""
    p50_ms: float | None
    p99_ms: float | None
    """The 99th percentile of milliseconds; None where no query was timed."""
    timed: int
    """Queries that were timed, one after the other."""
    accuracy: dict[int, float]
    """k -> share of the queries whose label is that of most of the k nearest; empty without labels."""
    mean_average_precision: float | None
    """Mean average precision (mAP). None without labels, and where a search ranks only candidates."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One column compared with every query."""

    best: list[Nearest]
    rows: int
    """Rows with a vector in this column that its metric can find."""
    vectors: dict[int, int]
    """Fragment id -> number of vectors in these rows, all of a row's where it has several."""
    average_precisions: np.ndarray
    """(Q,) float64; NaN for a query without a label, or whose label no row has. Empty without labels."""

    @property
    def mean_average_precision(self) -> float | None:
        known = self.average_precisions[~np.isnan(self.average_precisions)]
        return float(known.mean()) if len(known) else None


def scan_column(
    dataset: Any, column: SearchColumn, queries: Queries, labels: Labels | None, where: str | None = None
) -> Scan:
    """Compare every query with the column in one pass: the rows that the ways without an index need, and the rank of
    all rows by label. Only rows that match the SQL of `where` are compared."""
    left_out = max(len(each) for each in queries.left_out)
    depth = CANDIDATES * max(KS) + left_out
    vectors: Counter[int] = Counter()
    best, rows, precision = none_yet(len(queries)), 0, AveragePrecision(len(queries) if labels else 0)
    beside = [labels.column] if labels else []
    for scored in scored_batches(dataset, column, _brought(queries, column), beside=beside, where=where):
        rows += len(scored.row_ids)
        _count_vectors(vectors, column, scored)
        best = keep_best(best, scored, depth)
        if labels is not None:
            _rank_labels(precision, column, scored, queries, labels)
    kept = [found.without(own) for found, own in zip(best, queries.left_out, strict=True)]
    return Scan(best=kept, rows=rows, vectors=dict(vectors), average_precisions=precision.values())


def _count_vectors(vectors: Counter[int], column: SearchColumn, scored: Scored) -> None:
    own = scored.rows[column.name]
    counts = own.value_lengths().to_numpy() if column.multivector else np.ones(len(own), np.int64)
    fragments, at = np.unique(scored.rows["_rowaddr"].to_numpy() >> 32, return_inverse=True)
    vectors.update(dict(zip(fragments.tolist(), np.bincount(at, counts).astype(int).tolist(), strict=True)))


def _rank_labels(
    precision: AveragePrecision, column: SearchColumn, scored: Scored, queries: Queries, labels: Labels
) -> None:
    wanted = labels.of_queries
    values = wanted.unique().drop_null()
    codes = pc.fill_null(pc.index_in(scored.rows[labels.column], value_set=values), -1).to_numpy()
    wanted_codes = pc.index_in(wanted, value_set=values).to_pylist()
    for query, (code, own) in enumerate(zip(wanted_codes, queries.left_out, strict=True)):
        if code is not None:
            others = ~np.isin(scored.row_ids, own)
            precision.add(query, _within_one(scored.scores[query][others], column.metric), codes[others] == code)


def _within_one(scores: np.ndarray, metric: Metric) -> np.ndarray:
    """The scores in the same order, between -1 and 1, where cosines are already."""
    within: np.ndarray = scores if metric in ("cosine", "hamming") else scores / (1 + np.abs(scores))
    return within


def _brought(queries: Queries, column: SearchColumn) -> list[np.ndarray]:
    """The queries in the form in which they are compared with what the column stores."""
    flat = column.queries(np.concatenate(queries.vectors))
    return np.split(flat, np.cumsum(queries.counts)[:-1])


def wanted_ks(rows: int, queries: Queries) -> list[int]:
    """1, 10 and 100, without those above the number of rows beside a query's own; empty where there are no rows."""
    others = rows - max(len(each) for each in queries.left_out)
    return sorted({min(k, others) for k in KS}) if others > 0 else []


def measure_column(
    dataset: Any,
    column: SearchColumn,
    base: SearchColumn,
    queries: Queries,
    truth: Scan,
    scan: Scan,
    *,
    labels: Labels | None,
    timed: int,
) -> Iterator[MeasuredWay]:
    """Measure each way to search the column against `truth`, the scan of the base column in float32. At most `timed`
    queries are timed for each way."""
    ks = wanted_ks(truth.rows, queries)
    search = _Search(dataset, base, queries, _brought(queries, column))
    for way in ways_of(dataset, column):
        found = {k: search.found(way, scan, k) for k in ks}
        taken = search.milliseconds(way, timed)
        p50_ms, p99_ms = latency(taken) if taken else (None, None)
        yield MeasuredWay(
            way=way,
            recall={k: recall(found[k], truth.best, k) for k in ks},
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            timed=len(taken),
            accuracy=_accuracy(dataset, found, labels) if labels else {},
            mean_average_precision=None if way.index or way.rescored else scan.mean_average_precision,
        )


@dataclass(frozen=True)
class _Search:
    """What `pipelines.search.nearest` finds for each query."""

    dataset: Any
    base: SearchColumn
    queries: Queries
    brought: list[np.ndarray]

    def found(self, way: Way, scan: Scan, k: int) -> list[np.ndarray]:
        """k -> rows as `nearest` would find them. Without an index they are read from the one scan, in which all
        queries were compared."""
        if way.index:
            return [self._probed(way, at, k) for at in range(len(self.queries))]
        if not way.rescored:
            return [best.row_ids[:k] for best in scan.best]
        return [
            rank_rows(self.dataset, self.base, query, best.row_ids[: CANDIDATES * k], k).row_ids
            for query, best in zip(self.queries.vectors, scan.best, strict=True)
        ]

    def milliseconds(self, way: Way, most: int) -> list[float]:
        """Milliseconds of one query at a time, after the first was searched once before; none where `most` is 0."""
        if most:
            self._nearest(way, 0, TIMED_K, None)
        timed = min(most, len(self.queries))
        return milliseconds(lambda at: self._nearest(way, at, TIMED_K, None), timed, most_s=TIMED_S)

    def _probed(self, way: Way, at: int, k: int) -> np.ndarray:
        own = self.queries.left_out[at]
        found = self._nearest(way, at, k + len(own), CANDIDATES * k + len(own) if way.rescored else None)
        return found.without(own).row_ids[:k]

    def _nearest(self, way: Way, at: int, k: int, candidates: int | None) -> Nearest:
        rescore = (self.base, self.queries.vectors[at]) if way.rescored else None
        query = self.brought[at]
        return nearest(
            self.dataset,
            way.column,
            query,
            k,
            probe=way.probe,
            rescore=rescore,
            candidates=candidates,
            marked_too=False,
        )


def _accuracy(dataset: Any, found: Found, labels: Labels) -> dict[int, float]:
    """k -> accuracy over the queries that have a label, by 1 and by 10 neighbours, or as many as there are."""
    k = max(k for k in found if k <= TIMED_K)
    one, most = np.nanmean(right_labels(dataset, found[k], labels), axis=0)
    return {1: float(one), k: float(most)}


def right_labels(dataset: Any, near: Sequence[np.ndarray], labels: Labels) -> np.ndarray:
    """(Q, 2) float64, 1 or 0: whether the nearest, and whether most of the rows found for each query, nearest first,
    have its label. NaN for a query without a label, and where no row was found."""
    found_labels = take_rows(dataset, np.concatenate(near), [labels.column]).flatten()[labels.column]
    of_query = np.split(np.array(found_labels.to_pylist(), object), np.cumsum([len(each) for each in near])[:-1])
    right = np.full((len(near), 2), np.nan)
    for at, (own, rows) in enumerate(zip(labels.of_queries.to_pylist(), of_query, strict=True)):
        if own is not None and len(rows):
            right[at] = rows[0] == own, majority(rows.tolist()) == own
    return right
