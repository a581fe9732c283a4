"""What an index finds of the true neighbours, and how far it must be asked to look for a wanted share of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa

from pipelines.neighbours.latency import Latency, latency, milliseconds
from pipelines.neighbours.nearest import Nearest
from pipelines.neighbours.queries import Queries
from pipelines.neighbours.recall import TIES, recall
from pipelines.space.flat import Metric

K = 10
DEPTH = K + TIES
"""True neighbours that are known per query."""
THREADS = 4

REFINES: tuple[int | None, ...] = (None, 5, 10, 20, 50)
"""Refine factors to try. Refining helps even where the vectors themselves are compared: several a row are gathered one
by one, and ranked only then."""
LEAST_PROBES = 4


class Settings(NamedTuple):
    """How a search uses the index."""

    nprobes: int
    refine: int | None


class Reached(NamedTuple):
    """What a search with these settings finds."""

    settings: Settings
    recall: float
    """The index recall."""


class IndexTrial:
    """Searches one version of the table through its index, for queries whose true neighbours are known."""

    def __init__(
        self, dataset: "lance.LanceDataset", column: str, metric: Metric, queries: Queries, truth: Sequence[Nearest]
    ) -> None:
        self.dataset, self.column, self.metric = dataset, column, metric
        self.queries, self.truth = queries, truth
        # As Lance takes them: one vector, or a list of a row's several.
        self.vectors = [pa.array(own[0]) if len(own) == 1 else own for own in queries.vectors]

    def recall(self, settings: Settings) -> float:
        """The index recall at `K`: against an exact search of the same column, of what is stored there."""
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(lambda at: self._search(at, settings), range(len(self.queries))))
        return recall(found, self.truth, K)

    def latency(self, settings: Settings) -> Latency:
        """The latency over all queries, one at a time."""
        return latency(milliseconds(lambda at: self._search(at, settings), len(self.queries)))

    def _search(self, at: int, settings: Settings) -> np.ndarray:
        """Row ids of the `K` nearest, without the query's own row."""
        own = self.queries.left_out[at]
        nearest = {"column": self.column, "q": self.vectors[at], "k": K + len(own), "metric": self.metric}
        nearest |= {"nprobes": settings.nprobes}
        if settings.refine is not None:
            nearest["refine_factor"] = settings.refine
        found = self.dataset.to_table(columns=["_distance"], nearest=nearest, with_row_id=True)["_rowid"].to_numpy()
        others: np.ndarray = found[~np.isin(found, own)][:K]
        return others


def find_settings(
    recall: Callable[[Settings], float],
    *,
    partitions: int,
    target: float,
    nprobes: int | None = None,
    refine: int | None = None,
) -> Reached:
    """The least refinement, and with it the fewest partitions, that reach the target; the best seen if none does.

    `nprobes` and `refine` are the only ones tried where given. At most a quarter of the partitions, or 64 where those
    are more, are looked into: beyond that it would be comparing with every row.
    """
    steps = [nprobes] if nprobes is not None else probe_steps(partitions)
    best = Reached(Settings(steps[-1], refine), -1.0)
    for each in REFINES if refine is None else (refine,):
        widest = Settings(steps[-1], each)
        reached = Reached(widest, recall(widest))
        if reached.recall >= target:
            return _fewest_probes(recall, steps, target, reached)
        best = max(best, reached, key=lambda seen: seen.recall)
    return best


def _fewest_probes(
    recall: Callable[[Settings], float], steps: Sequence[int], target: float, widest: Reached
) -> Reached:
    """The fewest partitions that reach the target, by halving: recall grows with the partitions looked into."""
    low, high, reached = 0, len(steps) - 1, widest
    while low < high:
        middle = (low + high) // 2
        settings = Settings(steps[middle], widest.settings.refine)
        tried = Reached(settings, recall(settings))
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
