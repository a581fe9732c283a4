"""What an index finds of the true neighbours, and how far it must be asked to look for a wanted share of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import lance
import numpy as np
import pyarrow as pa

from pipelines.index.exact import Neighbors, Queries
from pipelines.space.flat import Metric

K = 10
DEPTH = 50
"""True neighbours that are known per query: rows as near as the `K`th, copies of one image, count as found too."""
SAME = 1e-5
"""Scores that differ by less are equal: sums in another order."""
THREADS = 4

REFINES: tuple[int | None, ...] = (None, 5, 10, 20, 50)
"""Even where the vectors themselves are compared: several a row are gathered one by one, and ranked only then."""
LEAST_PROBES = 4


class Settings(NamedTuple):
    """How a search uses the index."""

    nprobes: int
    refine: int | None


class Measured(NamedTuple):
    settings: Settings
    recall: float


class IndexTrial:
    """Searches one version of the table through its index, for queries whose true neighbours are known."""

    def __init__(
        self, dataset: "lance.LanceDataset", column: str, metric: Metric, queries: Queries, exact: Neighbors
    ) -> None:
        self.dataset, self.column, self.metric = dataset, column, metric
        self.row_ids = queries.row_ids
        self.vectors = list(_query_vectors(queries))
        self.right = [set(ids[near].tolist()) - {-1} for ids, near in zip(exact.row_ids, _near(exact), strict=True)]

    def recall(self, settings: Settings) -> float:
        """Mean over the queries of the share of the true nearest `K` that is found."""
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(lambda at: self._search(at, settings), range(len(self.vectors))))
        shares = [
            len(right.intersection(ids)) / wanted
            for right, ids in zip(self.right, found, strict=True)
            if (wanted := min(K, len(right)))
        ]
        return float(np.minimum(shares, 1.0).mean())

    def milliseconds(self, settings: Settings) -> tuple[float, float]:
        """p50 and p99 of one query at a time."""
        seconds = []
        for at in range(len(self.vectors)):
            started = time.perf_counter()
            self._search(at, settings)
            seconds.append(time.perf_counter() - started)
        p50, p99 = np.percentile(seconds, [50, 99])
        return float(p50) * 1000, float(p99) * 1000

    def _search(self, at: int, settings: Settings) -> list[int]:
        """Row ids of the `K` nearest, without the query's own row."""
        nearest = {"column": self.column, "q": self.vectors[at], "k": K + 1, "metric": self.metric}
        nearest |= {"nprobes": settings.nprobes}
        if settings.refine is not None:
            nearest["refine_factor"] = settings.refine
        found = self.dataset.to_table(columns=["_distance"], nearest=nearest, with_row_id=True)["_rowid"].to_pylist()
        own = int(self.row_ids[at])
        return [row for row in found if row != own][:K]


def find_settings(
    recall: Callable[[Settings], float],
    *,
    partitions: int,
    target: float,
    nprobes: int | None = None,
    refine: int | None = None,
) -> Measured:
    """The least refinement, and with it the fewest partitions, that reach the target; the best seen if none does.

    `nprobes` and `refine` are the only ones tried where given. At most a quarter of the partitions (64 of a few) are
    looked into: more would be comparing with every row.
    """
    steps = [nprobes] if nprobes is not None else probe_steps(partitions)
    best = Measured(Settings(steps[-1], refine), -1.0)
    for each in REFINES if refine is None else (refine,):
        widest = Settings(steps[-1], each)
        reached = Measured(widest, recall(widest))
        if reached.recall >= target:
            return _fewest_probes(recall, steps, target, reached)
        best = max(best, reached, key=lambda seen: seen.recall)
    return best


def _fewest_probes(
    recall: Callable[[Settings], float], steps: Sequence[int], target: float, widest: Measured
) -> Measured:
    """By halving: recall grows with the partitions looked into."""
    low, high, reached = 0, len(steps) - 1, widest
    while low < high:
        middle = (low + high) // 2
        settings = Settings(steps[middle], widest.settings.refine)
        tried = Measured(settings, recall(settings))
        if tried.recall >= target:
            high, reached = middle, tried
        else:
            low = middle + 1
    return reached


def probe_steps(partitions: int) -> list[int]:
    """4, 8, 16, ... up to a quarter of the partitions, or to 64 of them if those are more."""
    most = min(partitions, max(64, partitions // 4))
    steps = [LEAST_PROBES << i for i in range(most.bit_length()) if LEAST_PROBES << i < most]
    return [*steps, most]


def _near(exact: Neighbors) -> np.ndarray:
    """(Q, DEPTH) bool: rows as near as the `K`th nearest."""
    kth = exact.scores[:, min(K, exact.scores.shape[1]) - 1 :][:, :1]
    near: np.ndarray = exact.scores >= kth - SAME * np.maximum(np.abs(np.where(np.isfinite(kth), kth, 0)), 1)
    return near


def _query_vectors(queries: Queries) -> Iterator[Any]:
    """As Lance takes them: one vector, or a list of a row's several."""
    values, starts = queries.vectors
    for first, end in pairwise(starts):
        own = values[first:end] if values.dtype == np.uint8 else values[first:end].astype(np.float32)
        yield pa.array(own[0]) if len(own) == 1 else own
