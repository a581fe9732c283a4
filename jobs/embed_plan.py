"""What an embed job will do, worked out before anything starts: source, stages, schema, space, table."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from jobs.derived_columns import derived_columns, describe_reduction
from jobs.embed_config import EmbedConfig
from jobs.ray_cluster import size_here
from operators.api_options import ApiError
from operators.api_options import resolved as resolved_api
from operators.canaries import check_canaries
from operators.columns import VECTOR
from operators.embed_api import is_api
from operators.embed_patches import patch_spec
from operators.models.detector_spec import DetectorDescription
from operators.models.families import APIS
from operators.models.load import Runtime
from operators.models.resolve import Wanted, resolving_detector, resolving_models
from operators.models.spec import ModelSpec
from operators.region_options import DetectorOptions, PatchesOptions
from pipelines.cluster import ClusterConfig
from pipelines.image_embedding import (
    DerivedColumn,
    Options,
    VectorColumn,
    arrange,
    check_kept,
    image_embedding,
    operator_chain,
    reducing_chain,
)
from pipelines.manifest import Manifest, OnRows, SourceConfig, SourceError
from pipelines.region_blocks import sized_for_regions
from pipelines.region_chain import wanted_detector
from pipelines.region_rows import layout_of
from pipelines.registry import running_entry
from pipelines.resources import AUTO
from pipelines.shared_quota import check_pace
from pipelines.sources import open_manifest
from pipelines.space import Record, check_spaces, read_canaries, read_reductions, space_digest
from pipelines.stage import Pipeline, Stage
from pipelines.table_errors import RefusedError
from pipelines.table_names import TableNames
from pipelines.tables import TableInfo, open_existing
from pipelines.vector_import import vector_import
from pipelines.vector_manifest import VectorFolder, open_vector_folder

DRY_RUN_ROWS = 1000
"""A dry run converts a CSV, JSONL, text or listed source up to the end of the shard that holds this row: enough to
check its columns, with the digest that the run will have."""

NO_CANARIES = {"null", *APIS}
"""Families whose vectors are not watched: plain arithmetic on pixels, and models that a provider runs and bills."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A job with everything resolved that does not need a cluster."""

    config: EmbedConfig
    names: TableNames
    manifest: Manifest
    columns: tuple[VectorColumn, ...]
    pipeline: Pipeline
    derived: tuple[DerivedColumn, ...]
    records: dict[str, Record]
    """Vector column of the table -> its space."""
    existing: TableInfo | None

    @property
    def cluster(self) -> ClusterConfig:
        """With blocks of as many images as their regions allow."""
        return sized_for_regions(self.config.cluster, self.config.regions)

    @property
    def rows(self) -> int:
        """Rows that this job is to cover."""
        limit = self.config.source.limit
        return self.manifest.num_rows if limit is None else min(limit, self.manifest.num_rows)


def prepare(
    config: EmbedConfig,
    source: SourceConfig,
    work_uri: str,
    progress: OnRows | None = None,
    resolved: tuple[VectorColumn, ...] | None = None,
) -> Prepared:
    """Resolve the models and open the manifest, side by side, and fold the plan. Raises the `UserError` that applies.

    `resolved` are the columns of an earlier `prepare` of the same models. The table is looked at first and its spaces
    compared last: nothing is written to it here.
    """
    names = TableNames.from_table(config.table)
    check_kept(source.keep, [*config.columns, *config.reduce])
    specs = _specs(config)
    _check_api(config, specs)
    folder = open_vector_folder(source, config.storage)
    if folder is not None:
        return _prepare_vectors(config, source, folder, names)
    with _resolving(config, specs, resolved) as columns_here, _resolving_detector(config) as detector_here:
        existing = None if config.overwrite else _existing(config, names)
        manifest = open_manifest(source, config.storage, work_uri, progress)
        found, detector = columns_here(), detector_here()
    columns = found if existing is None else tuple(_as_in_table(column, existing.schema) for column in found)
    fetch = config.fetch.model_copy(
        update={
            "storage": config.storage,
            "allowed_roots": (*manifest.allowed_roots, *config.fetch.allowed_roots),
        }
    )
    options = Options(
        fetch=fetch,
        decode=config.decode,
        normalize=config.normalize,
        regions=config.regions,
        detector=detector,
        api=config.api,
    )
    chain = operator_chain(columns, options, config.cluster)
    derived = derived_columns(config, columns, chain, existing.schema if existing else None)
    chain |= reducing_chain(derived, config.storage_of_table)
    pipeline, records = image_embedding(
        manifest=manifest,
        columns=columns,
        derived=derived,
        store_base=config.store_base and not _left_out(columns, existing),
        layout=config.regions.layout if config.regions else None,
        stages=arrange(chain, config.cluster.stages),
        names=names,
        images=config.storage,
        table=config.storage_of_table,
    )
    if existing is not None:
        check_spaces(existing.schema, records, config.table)
        _check_canaries(found, columns)
    return Prepared(
        config=config,
        names=names,
        manifest=manifest,
        columns=columns,
        pipeline=pipeline,
        derived=derived,
        records=records,
        existing=existing,
    )


def _prepare_vectors(config: EmbedConfig, source: SourceConfig, folder: VectorFolder, names: TableNames) -> Prepared:
    """Ready vectors: no model is resolved, and none may be asked for. What the table derives of them is made too."""
    check_kept(source.keep, [VECTOR])
    if config.model is None or config.model.model_fields_set:
        raise SourceError(f"{folder.manifest.uri}: holds ready vectors, which no model embeds; leave the model out")
    if config.regions is not None:
        raise SourceError(f"{folder.manifest.uri}: holds ready vectors; regions are parts of images: leave them out")
    if config.reduce:
        raise SourceError(
            f"{folder.manifest.uri}: ready vectors are first taken in as they are; leave `reduce` out, and derive "
            f"columns with `pixlake reduce {config.table} NEW_COLUMN` then: later runs fill them"
        )
    existing = None if config.overwrite else _existing(config, names)
    if existing is not None and layout_of(existing.schema) is not None:
        raise SourceError(
            f"table {config.table}: keeps the regions of images, which ready vectors do not tell; take them into a "
            "table of their own"
        )
    reductions = read_reductions(existing.schema) if existing else {}
    derived = tuple(DerivedColumn(name=name, reduction=reduction) for name, reduction in reductions.items())
    pipeline, column, records = vector_import(
        folder=folder,
        source=source,
        normalize=config.normalize,
        derived=derived,
        names=names,
        storage=config.storage,
        table=config.storage_of_table,
    )
    if existing is not None:
        check_spaces(existing.schema, records, config.table)
    return Prepared(
        config=config.model_copy(update={"model": None}),
        names=names,
        manifest=folder.manifest,
        columns=(column,),
        pipeline=pipeline,
        derived=derived,
        records=records,
        existing=existing,
    )


def _specs(config: EmbedConfig) -> dict[str, ModelSpec]:
    """Raises `ModelError` for a name of no known form, and for a pooling that regions of patches cannot have."""
    specs = {column: model.spec() for column, model in config.columns.items()}
    if not isinstance(config.regions, PatchesOptions):
        return specs
    return {column: patch_spec(spec) for column, spec in specs.items()}


def _check_api(config: EmbedConfig, specs: Mapping[str, ModelSpec]) -> None:
    """Raises `ApiError` where an API model lacks what it will need, or several of them share one spend cap."""
    asked = [column for column, spec in specs.items() if spec.family in APIS]
    if asked and config.regions is not None:
        raise ApiError(
            f"regions with {specs[asked[0]].name}: it is asked over the network and embeds whole images; leave regions "
            "out, or take a model that runs here"
        )
    if asked:
        resolved_api(config.api)
    if len(asked) > 1 and config.api.max_spend_usd is not None:
        raise ApiError(
            f"api.max_spend_usd with {len(asked)} API models in one run ({', '.join(asked)}): a cap that stops a row "
            "between them loses what the first was paid for; run them one after the other, or leave the cap out"
        )


@contextmanager
def _resolving(
    config: EmbedConfig, specs: Mapping[str, ModelSpec], resolved: tuple[VectorColumn, ...] | None
) -> Iterator[Callable[[], tuple[VectorColumn, ...]]]:
    """Gives the columns when called: with their models, and what these give for the canary images here and now.

    If they are not `resolved`, it is worked out while the block runs, and given up if the block ends before.
    """
    if resolved is not None:
        columns = resolved
        yield lambda: columns
        return
    precisions = {column: config.precision(model) for column, model in config.columns.items()}
    wanted = [
        Wanted(
            spec=spec,
            runtime=Runtime(precision=precisions[column], device=config.cluster.device, storage=config.storage),
            canaries=spec.family not in NO_CANARIES,
            patches=isinstance(config.regions, PatchesOptions),
        )
        for column, spec in specs.items()
    ]
    with resolving_models(wanted) as found:
        yield lambda: tuple(
            VectorColumn(name=column, model=each.description, precision=precisions[column], canaries=each.canaries)
            for column, each in zip(specs, found(), strict=True)
        )


@contextmanager
def _resolving_detector(config: EmbedConfig) -> Iterator[Callable[[], DetectorDescription | None]]:
    """Gives the detector when called, None where there is none; as `_resolving`."""
    options = config.regions
    if not isinstance(options, DetectorOptions):
        yield lambda: None
        return
    with resolving_detector(wanted_detector(options, config.storage)) as found:
        yield found


def _as_in_table(column: VectorColumn, schema: pa.Schema) -> VectorColumn:
    """The column with the canaries that are stored with it: workers check theirs against what the table was made of."""
    derived = [name for name, reduction in read_reductions(schema).items() if reduction.base == column.name]
    there = next((name for name in (column.name, *derived) if name in schema.names), None)
    return replace(column, canaries=read_canaries(schema.field(there))) if there else column


def _left_out(columns: Sequence[VectorColumn], existing: TableInfo | None) -> bool:
    """Whether the table was made without the base columns of its derived ones."""
    if existing is None:
        return False
    sources = {reduction.base for reduction in read_reductions(existing.schema).values()}
    return any(column.name in sources and column.name not in existing.schema.names for column in columns)


def _check_canaries(resolved: Sequence[VectorColumn], columns: Sequence[VectorColumn]) -> None:
    """Raises `CanaryError` where a model computes something else here and now than when the table was made."""
    for here, there in zip(resolved, columns, strict=True):
        if here.canaries is not None and there.canaries is not None:
            name, device = here.model.spec.name, here.canaries.device
            check_canaries(there.canaries, here.canaries.to_numpy(), name=name, device=device)


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
            "models": {
                column.name: {"model": column.model.model_dump(mode="json"), **self._space(column.name)}
                for column in prepared.columns
            },
            "derived": {
                column.name: {"reduction": column.reduction.model_dump(mode="json"), **self._space(column.name)}
                for column in prepared.derived
            },
            "regions": _regions_dict(prepared),
            "stages": [_stage_dict(stage) for stage in prepared.pipeline.stages],
            "schema": {f.name: str(f.type) for f in prepared.pipeline.sink.vectors_schema},
            "config": prepared.config.model_dump(mode="json"),
        }

    def _space(self, column: str) -> dict[str, Any]:
        """Nothing of a column that the table does not store."""
        record = self.prepared.records.get(column)
        return {} if record is None else {"space": record, "space_digest": space_digest(record)}

    def text(self) -> str:
        plan = self.to_dict()
        source = plan["source"]
        rows = (
            f"{source['rows']:,} rows in {source['shards']:,} shards" if source["rows"] is not None else "not counted"
        )
        lines = [
            f"source   {source['uri']} ({rows})",
            *(f"note     {notice}" for notice in self.prepared.manifest.notices),
            f"table    {plan['table']} ({'exists' if plan['table_exists'] else 'will be created'})",
        ]
        lines += [f"model    {_model_line(column)}" for column in self.prepared.columns]
        lines += [f"derived  {column.name}: {describe_reduction(column.reduction)}" for column in self.prepared.derived]
        if plan["regions"]:
            lines.append(f"regions  {_regions_line(plan['regions'])}")
        for stage in plan["stages"]:
            lines.append(f"stage    {stage['name']}: {' -> '.join(stage['operators'])} ({stage['resources']})")
        lines += [f"column   {name}: {kind}" for name, kind in plan["schema"].items()]
        for name, record in self.prepared.records.items():
            lines += [f"space    {name}: {key}: {json.dumps(value)}" for key, value in record.items()]
            lines.append(f"digest   {name}: {space_digest(record)}")
        return "\n".join(lines)


def _regions_dict(prepared: Prepared) -> dict[str, Any] | None:
    """The options, and how many images make a block and a fragment for it."""
    options, cluster = prepared.config.regions, prepared.cluster
    if options is None:
        return None
    sizes = {"images_per_block": cluster.block_rows, "images_per_fragment": cluster.rows_per_fragment}
    return {"options": options.record(), **sizes}


def _regions_line(regions: dict[str, Any]) -> str:
    told = {name: value for name, value in regions["options"].items() if value is not None and name != "kind"}
    options = ", ".join(f"{name} {json.dumps(value)}" for name, value in told.items())
    return (
        f"{regions['options']['kind']}: {options}; {regions['images_per_block']:,} images a block, "
        f"{regions['images_per_fragment']:,} a fragment"
    )


def _model_line(column: VectorColumn) -> str:
    model = column.model
    precision = "" if is_api(model) else f", {column.precision}"
    return f"{column.name}: {model.spec.name} ({model.dim}-d, {model.num_parameters:,} parameters{precision})"


def _stage_dict(stage: Stage) -> dict[str, Any]:
    wanted = stage.resources
    actors = "as many actors as fit" if wanted.num_actors == AUTO else f"{wanted.num_actors} actors"
    gpus = f", {wanted.num_gpus:g} GPUs" if wanted.num_gpus else ""
    return {
        "name": stage.name,
        "operators": list(stage.operator_names),
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
        timeout_s = config.cluster.no_progress_timeout_s
        check_pace(sized, block_rows=config.cluster.block_rows, no_progress_timeout_s=timeout_s)
    return Plan(prepared)
