"""What a job's configuration leaves open, settled before it starts: where it runs, and in blocks of how many rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from operators.regions.options import RegionOptions
from pipelines.balance.choose import Choice, choose
from pipelines.balance.costs import RowCosts, row_costs
from pipelines.balance.pilot import pilot
from pipelines.embedding.columns import VectorColumn
from pipelines.manifests.manifest import Columns, Shard
from pipelines.run.cluster import ClusterConfig
from pipelines.run.pipeline import Pipeline
from pipelines.run.quota import limits_of
from pipelines.run.stage import Stage
from pipelines.sources.work import shard_work

PILOT_ROWS = 2_000
"""Jobs of fewer rows are over before a better cut could make up for the second that a pilot takes."""
_SHARDS = 4
"""Shards in which a pilot looks for rows."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The choice, and what it rests on."""

    choice: Choice
    costs: RowCosts


def settle(
    pipeline: Pipeline,
    columns: Sequence[VectorColumn],
    shards: Sequence[Shard],
    *,
    cluster: ClusterConfig,
    regions: RegionOptions | None,
    rows: int,
    in_flight: int,
    with_pilot: bool | None = None,
) -> Settled:
    """`rows` are those of the job, `in_flight` the most requests of one reader.

    With a pilot, the first rows of `shards` are fetched and decoded here; None: where that is worth its time.
    """
    if with_pilot is None:
        with_pilot = "auto" in (cluster.executor, cluster.block_rows) and rows >= PILOT_ROWS
    limits = limits_of(pipeline.stages)
    whole = (shard_work(shard, 0, np.ones(shard.num_rows, bool)) for shard in islice(shards, _SHARDS))
    costs = row_costs(
        columns,
        regions,
        requests_per_minute=limits.requests_per_minute if limits else None,
        measured=pilot(pipeline, [work for work in whole if work is not None]) if with_pilot else None,
        in_flight=in_flight,
    )
    given = pipeline.source.columns
    choice = choose(cluster, costs, rows, packed=given.packed, light=is_light(given, pipeline.stages))
    return Settled(choice=choice, costs=costs)


def is_light(given: Columns, stages: Sequence[Stage]) -> bool:
    """Whether blocks never carry images' bytes or pixels: one stage does all, part by part."""
    return given.image is None and len(stages) == 1 and stages[0].parts is not None
