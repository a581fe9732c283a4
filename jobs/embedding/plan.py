"""What `pixlake embed --dry-run` shows: the plan of a job, with nothing started and nothing written."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

from jobs.config.embed import EmbedConfig
from jobs.embedding.prepare import prepare
from jobs.embedding.prepared import Prepared
from jobs.reports.space_text import space_lines
from jobs.session.ray_cluster import ray_cluster, size_here
from operators.base.counted import counted
from operators.embed_api import is_api
from pipelines.balance.choose import SMALL_S, Choice
from pipelines.balance.settle import Settled
from pipelines.embedding.columns import VectorColumn
from pipelines.run.local import sized_for_threads
from pipelines.run.quota import check_pace
from pipelines.run.resources import AUTO
from pipelines.run.stage import Resources, Stage
from pipelines.space.labelling import describe_labelling
from pipelines.space.record import space_digest
from pipelines.space.reduction import describe_reduction

DRY_RUN_ROWS = 1000
"""A dry run converts a CSV, JSONL, text or listed source up to the end of the shard with this row: enough to check its
columns, and the digest is the one that the run will have."""


@dataclass(frozen=True)
class Plan:
    """What `--dry-run` shows."""

    prepared: Prepared
    settled: Settled

    def to_dict(self) -> dict[str, Any]:
        prepared = self.prepared
        manifest = prepared.manifest
        return {
            "source": {
                "uri": manifest.uri,
                "rows": prepared.rows if manifest.complete else None,
                "shards": len(manifest.shards) if manifest.complete else None,
                "digest": manifest.digest if manifest.complete else None,
            },
            "table": prepared.config.table,
            "table_exists": prepared.existing is not None,
            "models": {
                column.name: {"model": column.model.model_dump(mode="json"), **self._space(column.name)}
                for column in prepared.columns
            },
            "derived": {
                column.name: {"reduction": column.reduction.model_dump(mode="json"), **self._space(column.name)}
                for column in prepared.derived
            },
            "labelled": {name: each.model_dump(mode="json") for name, each in prepared.labellings.items()},
            "regions": _regions_dict(prepared, self.settled.choice),
            "executor": self._executor(),
            "stages": [_stage_dict(stage) for stage in prepared.pipeline.stages],
            "schema": {f.name: str(f.type) for f in prepared.pipeline.sink.vectors_schema},
            "config": prepared.config.model_dump(mode="json"),
        }

    def _executor(self) -> dict[str, Any]:
        """Where the job would run, and what its first rows let expect of this machine."""
        choice, costs, cores = self.settled.choice, self.settled.costs, self.prepared.cluster.cores_here
        return {
            "name": "auto" if self._waits_for_rows else choice.executor,
            "block_rows": choice.block_rows,
            "measured_rows": costs.measured_rows,
            "decode_s": costs.decode_s,
            "forward_s": costs.forward_s,
            "images_per_s": costs.images_per_s(cores),
            "bound_by": costs.bound_by(cores),
        }

    @property
    def _waits_for_rows(self) -> bool:
        """Whether the run alone will know its executor, having counted its rows."""
        cluster = self.prepared.cluster
        return cluster.executor == "auto" and cluster.address is None and not self.prepared.all_counted

    def _executor_lines(self) -> list[str]:
        choice, costs, cores = self.settled.choice, self.settled.costs, self.prepared.cluster.cores_here
        why = f"executor {choice.why(self.prepared.cluster)}; blocks of {counted(choice.block_rows, 'row')}"
        if self._waits_for_rows:
            few = SMALL_S * costs.images_per_s(cores)
            why = f"executor local up to about {few:,.0f} rows, ray for more: they are not counted yet"
        if not costs.measured_rows:
            return [why, "pace     not measured: none of the first images could be fetched and decoded here"]
        return [
            why,
            f"pace     about {costs.images_per_s(cores):,.1f} images/s on this machine's {cores} CPUs, bound by "
            f"{costs.bound_by(cores)}: decode {1000 * costs.decode_s:.1f} ms, model {1000 * costs.forward_s:.1f} ms of "
            f"CPU an image, by {costs.measured_rows} of the first",
        ]

    def _space(self, column: str) -> dict[str, Any]:
        """Space and digest of a column; nothing for a column that the table does not store."""
        record = self.prepared.records.get(column)
        return {} if record is None else {"space": record, "space_digest": space_digest(record)}

    def text(self) -> str:
        plan = self.to_dict()
        source = plan["source"]
        rows = (
            f"{counted(source['rows'], 'row')} in {counted(source['shards'], 'shard')}"
            if source["rows"] is not None
            else "not counted"
        )
        lines = [
            f"source   {source['uri']} ({rows})",
            *(f"note     {notice}" for notice in self.prepared.manifest.notices),
            f"table    {plan['table']} ({'exists' if plan['table_exists'] else 'will be created'})",
        ]
        lines += [f"rename   {old} is called {new}" for old, new in self.prepared.config.source.rename.items()]
        lines += [f"model    {_model_line(column)}" for column in self.prepared.columns]
        lines += [f"derived  {column.name}: {describe_reduction(column.reduction)}" for column in self.prepared.derived]
        lines += [f"labelled {name}: {describe_labelling(each)}" for name, each in self.prepared.labellings.items()]
        if plan["regions"]:
            lines.append(f"regions  {_regions_line(plan['regions'])}")
        lines += self._executor_lines()
        for stage in plan["stages"]:
            lines.append(f"stage    {stage['name']}: {' -> '.join(stage['operators'])} ({stage['resources']})")
        lines += [f"column   {name}: {kind}" for name, kind in plan["schema"].items()]
        for name, record in self.prepared.records.items():
            lines += [f"space    {name}: {line}" for line in space_lines(record)]
            lines.append(f"digest   {name}: {space_digest(record)}")
        return "\n".join(lines)


def _regions_dict(prepared: Prepared, choice: Choice) -> dict[str, Any] | None:
    """The region options, and how many images they put into a block and a fragment."""
    options, cluster = prepared.config.regions, prepared.cluster
    if options is None:
        return None
    sizes = {"images_per_block": choice.block_rows, "images_per_fragment": cluster.rows_per_fragment}
    return {"options": options.record(), **sizes}


def _regions_line(regions: dict[str, Any]) -> str:
    told = {name: value for name, value in regions["options"].items() if value is not None and name != "kind"}
    options = ", ".join(f"{name} {json.dumps(value)}" for name, value in told.items())
    return (
        f"{regions['options']['kind']}: {options}; {counted(regions['images_per_block'], 'image')} a block, "
        f"{regions['images_per_fragment']:,} a fragment"
    )


def _model_line(column: VectorColumn) -> str:
    model = column.model
    precision = "" if is_api(model) else f", {column.precision}"
    if column.backend_here is not None:
        precision += f" on {column.backend_here}"
    return f"{column.name}: {model.spec.name} ({model.dim}-d, {model.num_parameters:,} parameters{precision})"


def _stage_dict(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "operators": list(stage.operator_names),
        "resources": _resources_line(stage.resources),
    }


def _resources_line(wanted: Resources) -> str:
    each = _counted(wanted.num_cpus, "CPU") + (f", {_counted(wanted.num_gpus, 'GPU')}" if wanted.num_gpus else "")
    each += "".join(f", {amount:g} {name}" for name, amount in wanted.custom.items())
    if wanted.num_actors == AUTO:
        return f"as many actors as fit, each {each}"
    if wanted.num_actors == 1:
        return f"1 actor, {each}"
    return f"{wanted.num_actors} actors, each {each}"


def _counted(number: float, unit: str) -> str:
    return f"{number:g} {unit}" if number == 1 else f"{number:g} {unit}s"


@contextmanager
def prepared_beginning(config: EmbedConfig) -> Iterator[Prepared]:
    """The job over the beginning of its source, with nothing written outside a temporary folder, which is there for as
    long as it is entered."""
    limit = min(config.source.limit or DRY_RUN_ROWS, DRY_RUN_ROWS)
    with TemporaryDirectory(prefix="pixlake-") as folder:
        yield prepare(config, config.source.model_copy(update={"limit": limit}), folder)


def plan(config: EmbedConfig) -> Plan:
    """The plan of a job, with nothing started and nothing written outside a temporary folder."""
    with prepared_beginning(config) as prepared:
        settled = prepared.settle(with_pilot=True)
    choice = settled.choice
    if choice.executor == "local":
        here = sized_for_threads(prepared.pipeline.stages, config.cluster.cores_here)
        prepared = replace(prepared, pipeline=replace(prepared.pipeline, stages=here))
    if choice.executor == "ray" and config.cluster.address is None:
        sized = size_here(config.cluster, prepared.pipeline.stages)
        prepared = replace(prepared, pipeline=replace(prepared.pipeline, stages=sized))
        timeout_s = config.cluster.no_progress_timeout_s
        check_pace(sized, block_rows=choice.block_rows, no_progress_timeout_s=timeout_s)
    return Plan(prepared, settled)


def check_cluster(prepared: Prepared, choice: Choice) -> None:
    """Raises `UserError` where the cluster is not there or the pools do not fit it."""
    config, stages = prepared.config, prepared.pipeline.stages
    cluster = config.cluster
    if choice.executor == "local":
        return
    if cluster.address is None:
        sized = size_here(cluster, stages)
    else:
        with ray_cluster(cluster, stages, verbose=config.verbose) as sized:
            pass
    check_pace(sized, block_rows=choice.block_rows, no_progress_timeout_s=cluster.no_progress_timeout_s)
