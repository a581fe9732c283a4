"""`pixlake plan`: what an embed job will take and cost, from a trial of a few of its rows, before anything is spent."""

import math
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field

from jobs.benchmarking.config import Price
from jobs.config.embed import EmbedConfig
from jobs.embedding.plan import DRY_RUN_ROWS
from jobs.embedding.prepare import prepare
from jobs.embedding.prepared import Prepared
from jobs.planning.index_plan import index_plan
from jobs.planning.results import CostPlan, Expected, StagePace, Start, as_text
from jobs.session.progress import Progress
from operators.base.counted import counted
from operators.base.errors import UserError
from operators.models.families import APIS
from operators.storage.stores import NO_OPTIONS
from operators.storage.uris import from_anywhere
from pipelines.balance.choose import Choice
from pipelines.balance.costs import RowCosts
from pipelines.balance.estimate import PerRow, Ranged, before_rows, per_row
from pipelines.balance.settle import Settled
from pipelines.balance.trial import Stopwatch, TrialRun, Used, rows_to_try, try_out, warm_rows
from pipelines.manifests.manifest import SourceConfig
from pipelines.sources.drawn import draw_positions, work_at
from pipelines.space.field import vector_columns

__all__ = ["CostPlan", "PlanConfig", "as_text", "run"]

IMPORTS_S = 1.2
"""Seconds of one core for Python to start and to import what a job needs before it does anything."""
RAY_S = 15.0
"""Seconds for Ray to start, and its workers to import what they need."""
RAY_CORE_S = 20.0
"""CPU seconds of its processes and its workers' imports: 27 beside other work that slows all down."""
RAY_MORE = 1.4
"""By how much more a row may take on Ray than in a trial: 4,000 rows took so much more CPU, beside other work."""


class PlanConfig(EmbedConfig):
    """The embed job, and how it is tried. The file of the job serves as it is; its table is not touched."""

    table: str = ""
    """Of no use here, but for artifacts that lie beside it."""
    sample: int | None = Field(default=None, ge=32, le=20_000)
    """Rows that are drawn by position and tried; None: as many as keep all cores busy for a while."""
    rows: int | None = Field(default=None, ge=1)
    """Rows of the source, where they are known: then only its first thousand are opened and drawn from."""
    price: Price = None
    seed: int = Field(default=0, ge=0)


def run(config: PlanConfig) -> CostPlan:
    """Try the job and reckon. Nothing is written but to a temporary folder. Raises `UserError` for what a run would
    refuse, and where no row can be tried."""
    config = _job_of(config)
    with TemporaryDirectory(prefix="pixlake-plan-") as folder, Progress() as progress:
        progress.phase("opening the source and the models")
        stopwatch = Stopwatch()
        prepared = _prepare(config, folder, progress)
        rows = config.rows or prepared.rows
        progress.phase("fetching and decoding the first images, to see what one costs")
        settled = prepared.settle(with_pilot=True, rows=rows)
        opened = stopwatch.read()
        trial = _try(config, prepared, settled, folder, progress)
        if not sum(part.rows for part in trial.parts):
            raise UserError(f"{prepared.manifest.uri}: has no rows to try")
        progress.phase("reckoning")
        return _reckon(config, prepared, settled, trial, opened, rows)


def _job_of(config: PlanConfig) -> PlanConfig:
    paid = [model.name for model in config.columns.values() if model.spec().family in APIS]
    if paid:
        raise UserError(
            f"{paid[0]} is asked over the network and bills for each image, so that a trial would spend: a run costs "
            "its rows by api.usd_per_1000_images"
        )
    source = config.source.model_copy(update={"uri": from_anywhere(config.source.uri)})
    return config.model_copy(update={"source": source})


def _prepare(config: PlanConfig, folder: str, progress: Progress) -> Prepared:
    source: SourceConfig = config.source
    if config.rows is not None:
        limit = min(config.rows, source.limit or DRY_RUN_ROWS, DRY_RUN_ROWS)
        source = source.model_copy(update={"limit": limit})
    # A table that is there would be counted, compared and refused: a plan is of the job alone.
    away = {} if config.table and config.reduce else {"table": f"{folder}/lake/planned", "table_storage": NO_OPTIONS}
    prepared = prepare(
        config.model_copy(update=away),
        source,
        f"{folder}/manifest",
        lambda rows: progress.counted(f"reading the source: {counted(rows, 'row')}"),
        phase=progress.phase,
    )
    for notice in prepared.manifest.notices:
        progress.note(notice)
    return prepared


def _try(config: PlanConfig, prepared: Prepared, settled: Settled, folder: str, progress: Progress) -> TrialRun:
    cores, block_rows = prepared.cluster.cores_here, settled.choice.block_rows
    sample = config.sample or rows_to_try(cores, settled.costs.cpu_s, block_rows)
    positions = draw_positions(prepared.rows, sample, config.seed)
    warm = warm_rows(len(positions))
    first, work = (list(work_at(prepared.manifest.shards, some)) for some in (positions[:warm], positions[warm:]))
    # Drawn rows are seldom copies of each other, whatever the whole source holds.
    stages = tuple(replace(stage, reuse=None) for stage in prepared.pipeline.stages)
    return try_out(
        replace(prepared.pipeline, stages=stages),
        first,
        work,
        cores=cores,
        block_rows=block_rows,
        table=f"{folder}/lake/trial",
        counted=lambda rows: progress.counted(
            f"trying {rows:,} of {counted(len(positions), 'row')}", rows / max(len(positions), 1)
        ),
    )


def _reckon(
    config: PlanConfig, prepared: Prepared, settled: Settled, trial: TrialRun, opened: Used, rows: int
) -> CostPlan:
    one = per_row(trial)
    once = _once(opened, before_rows(trial, one), settled.choice.executor)
    if settled.choice.executor == "ray":
        core_s = None if one.core_s is None else one.core_s.up_to(RAY_MORE)
        one = replace(one, seconds=one.seconds.up_to(RAY_MORE), core_s=core_s)
    cores, cuda = prepared.cluster.cores_here, config.cluster.device == "cuda"
    hours = one.seconds.times(rows).plus(once.seconds).times(1 / 3600)
    core_hours = None
    if one.core_s is not None:
        core_hours = one.core_s.times(rows).plus(once.core_s or 0.0).times(1 / 3600)
    stages, bound_by = _stages(settled.costs, cores, one)
    schema = prepared.pipeline.sink.vectors_schema
    return CostPlan(
        source=prepared.manifest.uri,
        rows=rows,
        counted=config.rows is None,
        tried=sum(part.rows for part in (trial.first, *trial.parts) if part is not None),
        executor=settled.choice.executor,
        cores=cores,
        device=config.cluster.device,
        images_per_s=_rate(one.seconds),
        stages=stages,
        bound_by=bound_by,
        hours=_expected(hours),
        core_hours=None if core_hours is None else _expected(core_hours),
        start=Start(seconds=once.seconds, core_seconds=once.core_s),
        gpu_hours=_expected(hours) if cuda else None,
        cost=None if config.price is None else _expected(hours.times(config.price)),
        price=config.price,
        requests=_expected(one.requests.times(rows)),
        bytes_read=_expected(one.size_bytes.times(rows)),
        bytes_written=_expected(_written(config, one, rows, settled.choice, trial.fragment_bytes)),
        failures=_expected(one.failed.times(rows)),
        indexes=[index_plan(schema.field(name), rows) for name in vector_columns(schema)],
    )


def _once(opened: Used, before: Used, executor: str) -> Used:
    """What a run takes once: Python's start, what this plan took to open the source and the models and to try the
    first images, as a run does, what was before the rows, and Ray."""
    ray_s, ray_core_s = (RAY_S, RAY_CORE_S) if executor == "ray" else (0.0, 0.0)
    core_s = None
    if opened.core_s is not None and before.core_s is not None:
        core_s = IMPORTS_S + opened.core_s + before.core_s + ray_core_s
    return Used(seconds=IMPORTS_S + opened.seconds + before.seconds + ray_s, core_s=core_s)


def _written(config: PlanConfig, one: PerRow, rows: int, choice: Choice, fragment_bytes: float) -> Ranged:
    """The table's data. How many fragments of whole blocks it is in depends in this process on the pace, and its last
    one is seldom full."""
    full = config.cluster.rows_per_fragment
    interval_s = config.cluster.commit_interval_s if choice.executor == "local" else math.inf
    seconds, written = one.seconds, one.written_bytes.times(rows)

    def fragments(row_s: float) -> int:
        blocks = math.ceil(min(full, interval_s / max(row_s, 1e-9)) / choice.block_rows)
        return math.ceil(rows / (blocks * choice.block_rows))

    value, low, high = (fragment_bytes * fragments(each) for each in (seconds.value, seconds.low, seconds.high))
    return Ranged(value=written.value + value, low=written.low + low, high=written.high + high + fragment_bytes)


def _stages(costs: RowCosts, cores: int, one: PerRow) -> tuple[dict[str, StagePace], str]:
    """What each part of the work could do alone, and what binds, by the pilot of the first rows."""
    bound_by = costs.bound_by(cores)
    paces: dict[str, float | None] = {
        "network": 1 / costs.network_s if costs.network_s > 0 else None,
        "decode": cores / costs.decode_s if costs.decode_s > 0 else None,
        "model": cores / costs.forward_s if costs.forward_s > 0 else None,
    }
    return {name: StagePace(images_per_s=pace, binds=name == bound_by) for name, pace in paces.items()}, bound_by


def _rate(seconds: Ranged) -> Expected:
    slow, fast = max(seconds.high, 1e-9), max(seconds.low, 1e-9)
    return Expected(value=1 / max(seconds.value, 1e-9), low=1 / slow, high=1 / fast)


def _expected(each: Ranged) -> Expected:
    values: dict[str, Any] = vars(each)
    return Expected(**values)
