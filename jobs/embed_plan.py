"""What an embed job will do, worked out before anything starts: source, stages, schema, space, table."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

from jobs.embed_config import EmbedConfig
from jobs.ray_cluster import size_here
from operators.models.spec import ModelDescription, describe_model
from pipelines.image_embedding import Options, arrange, image_embedding, operator_chain
from pipelines.manifest import Manifest, OnRows, SourceConfig
from pipelines.registry import running_entry
from pipelines.resources import AUTO
from pipelines.sources import open_manifest
from pipelines.space import Record, check_space, read_space, space_digest
from pipelines.stage import Pipeline, Stage
from pipelines.table_errors import RefusedError
from pipelines.table_names import TableNames
from pipelines.tables import TableInfo, open_existing

DRY_RUN_ROWS = 1000
"""A dry run converts a CSV, JSONL, text or listed source up to the end of the shard that holds this row: enough to
check its columns, with the digest that the run will have."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A job with everything resolved that does not need a cluster."""

    config: EmbedConfig
    names: TableNames
    manifest: Manifest
    model: ModelDescription
    pipeline: Pipeline
    record: Record
    existing: TableInfo | None

    @property
    def rows(self) -> int:
        """Rows that this job is to cover."""
        limit = self.config.source.limit
        return self.manifest.num_rows if limit is None else min(limit, self.manifest.num_rows)


def prepare(config: EmbedConfig, source: SourceConfig, work_uri: str, progress: OnRows | None = None) -> Prepared:
    """Resolve the model and open the manifest, side by side, and fold the plan. Raises the `UserError` that applies.

    The table is looked at first and its space compared last: nothing is written to it here.
    """
    names = TableNames.from_table(config.table)
    spec = config.model.spec()
    with ThreadPoolExecutor(1) as pool:
        resolving = pool.submit(describe_model, spec, config.storage)
        existing = None if config.overwrite else _existing(config, names)
        manifest = open_manifest(source, config.storage, work_uri, progress)
        model = resolving.result()
    fetch = config.fetch.model_copy(
        update={
            "storage": config.storage,
            "allowed_roots": (*manifest.allowed_roots, *config.fetch.allowed_roots),
        }
    )
    options = Options(fetch=fetch, decode=config.decode, normalize=config.normalize)
    chain = operator_chain(model, config.precision, options, config.cluster)
    pipeline, record = image_embedding(
        manifest=manifest,
        stages=arrange(chain, config.cluster.stages),
        names=names,
        images=config.storage,
        table=config.storage_of_table,
    )
    if existing is not None:
        there, _ = read_space(existing.schema.field("vector"), config.table)
        check_space(there, record, config.table)
    return Prepared(
        config=config,
        names=names,
        manifest=manifest,
        model=model,
        pipeline=pipeline,
        record=record,
        existing=existing,
    )


def _existing(config: EmbedConfig, names: TableNames) -> TableInfo | None:
    """The table, if there is one, that this job may write to. Raises `RefusedError` before anything is written."""
    existing = open_existing(names, config.storage_of_table)
    if existing is None:
        return None
    if not existing.made_by_pixlake:
        raise RefusedError(
            f"table {config.table}: was not made by Pixlake; choose another name, or give --overwrite twice"
        )
    if config.abandon:
        running_entry(existing.metadata, config.abandon, config.table)
    return existing


@dataclass(frozen=True)
class Plan:
    """What `--dry-run` shows."""

    prepared: Prepared

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
            "model": prepared.model.model_dump(mode="json"),
            "stages": [_stage_dict(stage) for stage in prepared.pipeline.stages],
            "schema": {f.name: str(f.type) for f in prepared.pipeline.sink.vectors_schema},
            "space": prepared.record,
            "space_digest": space_digest(prepared.record),
            "config": prepared.config.model_dump(mode="json"),
        }

    def text(self) -> str:
        plan = self.to_dict()
        source, model = plan["source"], plan["model"]
        rows = (
            f"{source['rows']:,} rows in {source['shards']:,} shards" if source["rows"] is not None else "not counted"
        )
        lines = [
            f"source   {source['uri']} ({rows})",
            f"table    {plan['table']} ({'exists' if plan['table_exists'] else 'will be created'})",
            f"model    {model['spec']['name']} ({model['dim']}-d, {model['num_parameters']:,} parameters, "
            f"{plan['space']['embed']['precision']})",
        ]
        for stage in plan["stages"]:
            lines.append(f"stage    {stage['name']}: {' -> '.join(stage['operators'])} ({stage['resources']})")
        lines += [f"column   {name}: {kind}" for name, kind in plan["schema"].items()]
        lines += [f"space    {name}: {json.dumps(value)}" for name, value in plan["space"].items()]
        lines.append(f"digest   {plan['space_digest']}")
        return "\n".join(lines)


def _stage_dict(stage: Stage) -> dict[str, Any]:
    wanted = stage.resources
    actors = "as many actors as fit" if wanted.num_actors == AUTO else f"{wanted.num_actors} actors"
    gpus = f", {wanted.num_gpus:g} GPUs" if wanted.num_gpus else ""
    return {
        "name": stage.name,
        "operators": [operator.name for operator in stage.operators],
        "resources": f"{actors}, each {wanted.num_cpus:g} CPUs{gpus}",
    }


def plan(config: EmbedConfig) -> Plan:
    """The plan of a job, with nothing started and nothing written outside a temporary folder."""
    limit = min(config.source.limit or DRY_RUN_ROWS, DRY_RUN_ROWS)
    with TemporaryDirectory(prefix="pixlake-") as folder:
        prepared = prepare(config, config.source.model_copy(update={"limit": limit}), folder)
    if config.cluster.executor == "ray" and config.cluster.address is None:
        sized = size_here(config.cluster, prepared.pipeline.stages)
        prepared = replace(prepared, pipeline=replace(prepared.pipeline, stages=sized))
    return Plan(prepared)
