"""What each way of searching finds of the true neighbours, what it says of labels, and how long a query takes."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipelines.evaluation.labels import AveragePrecision, majority
from pipelines.evaluation.queries import Queries
from pipelines.evaluation.ways import Way, ways_of
from pipelines.search.column import SearchColumn
from pipelines.search.nearest import CANDIDATES, nearest, rank_rows, take_rows
from pipelines.search.scan import Nearest, Scored, keep_best, none_yet, scored_batches
from pipelines.space.flat import Metric

KS = (1, 10, 100)
TIMED_K = 10
SAME = 1e-5
"""Scores that differ by less are equal, of those larger than 1 by less than this part: sums in another order. Rows as
near as the k-th, copies of an image, count as found as well."""
TIES = 50
"""Rows beyond the k-th that are looked at for it."""
TIMED_S = 5.0
"""No more queries of a way are timed after this."""

Found = Mapping[int, list[np.ndarray]]
"""k -> for each query the row ids found, the nearest first, the query's own left out."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One way, measured."""

    way: Way
    recall: dict[int, float]
    """k -> mean share of the true nearest k among the k found."""
    p50_ms: float | None
    p99_ms: float | None
    """None where no query was timed."""
    timed: int
    """Queries that were timed, one after the other."""
    accuracy: dict[int, float]
    """k -> share of the queries whose label is that of most of the k nearest; empty without labels."""
    mean_average_precision: float | None
    """None without labels, and where a search ranks no more than candidates."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One column compared with every query."""

    best: list[Nearest]
    rows: int
    """That have a vector, and can be found by the column's metric."""
    vectors: dict[int, int]
    """Fragment id -> vectors of these rows: of a row of several all of them."""
    mean_average_precision: float | None


def scan_column(dataset: Any, column: SearchColumn, queries: Queries, label: str | None) -> Scan:
    """The rows that any of the ways without an index need, and the rank of all rows by label, in one pass."""
    left_out = max(len(each) for each in queries.left_out)
    depth = CANDIDATES * max(KS) + left_out
    vectors: Counter[int] = Counter()
    best, rows, precision = none_yet(len(queries)), 0, AveragePrecision(len(queries) if label else 0)
    beside = [label] if label else []
    for scored in scored_batches(dataset, column, queries.brought_to(column), beside=beside):
        rows += len(scored.row_ids)
        _count_vectors(vectors, column, scored)
        best = keep_best(best, scored, depth)
        if label is not None:
            _rank_labels(precision, column, scored, queries, label)
    kept = [_without(found, own) for found, own in zip(best, queries.left_out, strict=True)]
    values = precision.values()
    values = values[~np.isnan(values)]
    mean = float(values.mean()) if len(values) else None
    return Scan(best=kept, rows=rows, vectors=dict(vectors), mean_average_precision=mean)


def _count_vectors(vectors: Counter[int], column: SearchColumn, scored: Scored) -> None:
    own = scored.rows[column.name]
    counts = own.value_lengths().to_numpy() if column.multivector else np.ones(len(own), np.int64)
    fragments, at = np.unique(scored.fragments, return_inverse=True)
    vectors.update(dict(zip(fragments.tolist(), np.bincount(at, counts).astype(int).tolist(), strict=True)))


def _rank_labels(
    precision: AveragePrecision, column: SearchColumn, scored: Scored, queries: Queries, label: str
) -> None:
    wanted = queries.rows[label].combine_chunks()
    values = wanted.unique().drop_null()
    codes = pc.fill_null(pc.index_in(scored.rows[label], value_set=values), -1).to_numpy()
    wanted_codes = pc.index_in(wanted, value_set=values).to_pylist()
    for query, (code, own) in enumerate(zip(wanted_codes, queries.left_out, strict=True)):
        if code is not None:
            others = ~np.isin(scored.row_ids, own)
            precision.add(query, _within_one(scored.scores[query][others], column.metric), codes[others] == code)


def _within_one(scores: np.ndarray, metric: Metric) -> np.ndarray:
    """In the same order between -1 and 1, where cosines are already."""
    within: np.ndarray = scores if metric in ("cosine", "hamming") else scores / (1 + np.abs(scores))
    return within


def _without(found: Nearest, own: np.ndarray) -> Nearest:
    others = ~np.isin(found.row_ids, own)
    return Nearest(row_ids=found.row_ids[others], scores=found.scores[others])


def wanted_ks(rows: int, queries: Queries) -> list[int]:
    """1, 10, 100, of which none is more than the rows there are beside a query's own; empty where there are none."""
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
    label: str | None,
    timed: int,
) -> Iterator[Measured]:
    """Each way to search the column, against `truth`, the scan of the base column in float32. At most `timed` queries
    of each are timed."""
    ks = wanted_ks(truth.rows, queries)
    search = _Search(dataset, base, queries, queries.brought_to(column))
    for way in ways_of(dataset, column):
        found = {k: search.found(way, scan, k) for k in ks}
        milliseconds = search.milliseconds(way, timed)
        yield Measured(
            way=way,
            recall={k: _recall(found[k], truth, k) for k in ks},
            p50_ms=float(np.percentile(milliseconds, 50)) if milliseconds else None,
            p99_ms=float(np.percentile(milliseconds, 99)) if milliseconds else None,
            timed=len(milliseconds),
            accuracy=_accuracy(dataset, found, queries, label) if label else {},
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
        """As `nearest` would. Without an index all queries were compared in the one scan, which is read from here."""
        if way.index:
            return [self._probed(way, at, k) for at in range(len(self.queries))]
        if not way.rescored:
            return [best.row_ids[:k] for best in scan.best]
        return [
            rank_rows(self.dataset, self.base, query, best.row_ids[: CANDIDATES * k], k).row_ids
            for query, best in zip(self.queries.vectors, scan.best, strict=True)
        ]

    def milliseconds(self, way: Way, most: int) -> list[float]:
        """Of one query at a time, the first of them once before; of none where `most` is 0."""
        if most:
            self._nearest(way, 0, TIMED_K, None)
        taken: list[float] = []
        while len(taken) < min(most, len(self.queries)) and sum(taken) < TIMED_S * 1000:
            started = time.perf_counter()
            self._nearest(way, len(taken), TIMED_K, None)
            taken.append((time.perf_counter() - started) * 1000)
        return taken

    def _probed(self, way: Way, at: int, k: int) -> np.ndarray:
        own = self.queries.left_out[at]
        found = self._nearest(way, at, k + len(own), CANDIDATES * k + len(own) if way.rescored else None)
        return _without(found, own).row_ids[:k]

    def _nearest(self, way: Way, at: int, k: int, candidates: int | None) -> Nearest:
        rescore = (self.base, self.queries.vectors[at]) if way.rescored else None
        query = self.brought[at]
        return nearest(self.dataset, way.column, query, k, probe=way.probe, rescore=rescore, candidates=candidates)


def _recall(found: Sequence[np.ndarray], truth: Scan, k: int) -> float:
    shares = []
    for row_ids, true in zip(found, truth.best, strict=True):
        kth = true.scores[k - 1]
        near = true.scores[: k + TIES] >= kth - SAME * max(1, abs(kth))
        shares.append(min(np.isin(row_ids, true.row_ids[: k + TIES][near]).sum(), k) / k)
    return float(np.mean(shares))


def _accuracy(dataset: Any, found: Found, queries: Queries, label: str) -> dict[int, float]:
    """Of the queries that have a label, by 1 and by 10 neighbours, or as many as there are."""
    wanted = queries.rows[label].to_pylist()
    k = max(k for k in found if k <= TIMED_K)
    near = found[k]
    labels = take_rows(dataset, np.concatenate(near), [label]).flatten()[label]
    of_query = np.split(np.array(labels.to_pylist(), object), np.cumsum([len(each) for each in near])[:-1])
    right = [
        (rows[0] == own, majority(rows.tolist()) == own)
        for own, rows in zip(wanted, of_query, strict=True)
        if own is not None and len(rows)
    ]
    one, most = np.mean(right, axis=0)
    return {1: float(one), k: float(most)}
