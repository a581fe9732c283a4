"""The steps of an index before it is published, done by any number of workers: build, merge, measure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import lance
from lance.dataset import Index

from operators.storage.stores import StorageOptions
from pipelines.index.exact import Exact, exact_neighbors, exact_of
from pipelines.index.model import IndexModel, IndexSpec
from pipelines.index.recall import DEPTH, IndexTrial, Reached, Settings, find_settings
from pipelines.index.records import fragment_rows, vector_indexes
from pipelines.index.segments import (
    UNMERGEABLE,
    build_segment,
    discard,
    merge_segments,
    share_out,
    unpublished,
)
from pipelines.neighbours.latency import Latency
from pipelines.neighbours.queries import Queries
from pipelines.space.flat import Metric
from pipelines.table.table import Table
from pipelines.table.tasks import RunTasks

ROWS_PER_SEGMENT = 50_000_000
"""Rows of one segment. A query opens every segment, and one worker writes a merged one: few segments, and not endlessly
large."""
ROWS_APART = 100_000
"""Least rows of a segment that cannot be merged: an update of a few rows adds one."""
MOST_SEGMENTS = 8
"""Most segments of an index whose segments cannot be merged, and of any that is updated again and again."""


@dataclass(frozen=True, kw_only=True)
class IndexWork:
    """One version of a table, as any worker opens it, and what runs the work."""

    table: Table
    dataset: "lance.LanceDataset"
    execute: RunTasks
    workers: int
    """How many pieces the work is cut into."""
    most_segments: int = MOST_SEGMENTS
    """Segments of an index from which on an update builds it anew."""

    @property
    def storage(self) -> StorageOptions:
        return self.table.storage

    @property
    def opened(self) -> tuple[Table, int]:
        """What a worker opens."""
        return self.table, self.dataset.version


class Measurement(NamedTuple):
    """What was measured of an unpublished index."""

    reached: Reached
    latency: Latency
    segments: int
    size_bytes: int


class Truth(NamedTuple):
    """Queries, and the rows that an index should find."""

    queries: Queries
    exact: Exact


def find_truth(work: IndexWork, column: str, metric: Metric, queries: Queries) -> Truth:
    """The true neighbours of the queries, found by all workers together."""
    groups = share_out(fragment_rows(work.dataset), work.workers)
    find = partial(exact_neighbors, *work.opened, column, queries, metric, DEPTH)
    return Truth(queries, exact_of(list(work.execute(find, groups)), DEPTH))


def build_segments(
    work: IndexWork, spec: IndexSpec, model: IndexModel, name: str, fragments: Mapping[int, int]
) -> list[Index]:
    """An unpublished index on the rows of these fragments, in as few segments as possible."""
    apart = spec.type in UNMERGEABLE
    rows = sum(fragments.values())
    most = min(work.workers, MOST_SEGMENTS, max(1, rows // ROWS_APART)) if apart else work.workers
    groups = share_out(fragments, most)
    built = list(work.execute(partial(build_segment, *work.opened, spec, model, name), groups))
    # They come as they are done; merged in one order, the same build gives the same index.
    built.sort(key=lambda segment: min(segment.fragment_ids))
    wanted = max(1, -(-rows // ROWS_PER_SEGMENT))
    if apart or len(built) <= wanted:
        return built
    parts = [built[at::wanted] for at in range(wanted)]
    merged = list(work.execute(partial(merge_segments, *work.opened), parts))
    discard(work.dataset, built, work.storage)
    return merged


@dataclass(frozen=True, kw_only=True)
class SearchGoal:
    """What a search must find, and how far it may look; numbers that are given are the only ones tried."""

    target: float
    """The index recall to reach."""
    nprobes: int | None = None
    refine: int | None = None


def measure(
    work: IndexWork,
    spec: IndexSpec,
    segments: Sequence[Index],
    truth: Truth,
    goal: SearchGoal,
    *,
    first: Sequence[Settings] = (),
    keep: str = "",
) -> Measurement:
    """How the index must be searched to reach the target, and how long that takes. Settings in `first` are tried before
    all others; `keep` is the published index that the segments are added to."""
    with unpublished(work.dataset, segments, spec.column, work.storage, keep=keep) as there:
        trial = IndexTrial(there, spec.column, spec.metric, truth.queries, truth.exact.nearest)
        known = [Reached(each, trial.recall(each)) for each in first]
        reached = next((each for each in known if each.recall >= goal.target), None) or find_settings(
            trial.recall,
            partitions=spec.num_partitions,
            target=goal.target,
            nprobes=goal.nprobes,
            refine=goal.refine,
        )
        [index] = vector_indexes(there, spec.column)
        return Measurement(reached, trial.latency(reached.settings), len(index.segments), index.total_size_bytes or 0)
