"""An embed job worked out before anything starts: models, manifest, stages, schema, spaces, and the table as it is."""

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa

from jobs.config.embed import EmbedConfig
from jobs.config.model_names import ModelConfig, derive_name
from jobs.config.table_models import with_table_models
from jobs.embedding.derived_columns import derived_columns, labelled_columns
from jobs.embedding.prepare_vectors import prepare_vectors
from jobs.embedding.prepared import Prepared, writable_table
from jobs.embedding.resolve_columns import check_api, model_specs, resolving_columns, resolving_detector_of
from operators.base.columns import VECTOR
from operators.models.backends.fastest import Numerics
from operators.models.canaries import check_canaries
from operators.models.detectors.spec import DetectorDescription
from pipelines.embedding.chain import comparing_chain, labelling_operators, operator_chain, reducing_chain
from pipelines.embedding.columns import Options, VectorColumn
from pipelines.embedding.image_embedding import arrange, image_embedding
from pipelines.manifests.kept_names import check_names, check_unmistakable
from pipelines.manifests.manifest import Manifest, OnRows, SourceConfig
from pipelines.manifests.open import open_manifest, open_source
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.space.check import ModelArguments, check_spaces
from pipelines.space.field import read_canaries, read_reductions, read_space
from pipelines.table.names import TableNames
from pipelines.table.open import TableInfo


def prepare(
    config: EmbedConfig,
    source: SourceConfig,
    work_uri: str,
    progress: OnRows | None = None,
    resolved: tuple[VectorColumn, ...] | None = None,
    phase: Callable[[str], None] = lambda text: None,
    delta: Manifest | None = None,
    moved: bytes = b"",
) -> Prepared:
    """Resolve the models and open the manifest, side by side, and fold the plan. Raises the `UserError` that applies.

    `resolved` are the columns of an earlier `prepare` of the same models; `phase` is told what is waited for. `delta`
    is a manifest of the source's changes, opened already: images of it are set aside whose vectors the table has under
    their id or, new ones, by one of the digests `moved`. The table is looked at first and its spaces compared last:
    nothing is written to it here.
    """
    names = TableNames.from_table(config.table)
    existing = None if config.overwrite else writable_table(config, names)
    config = with_table_models(config, existing)
    filled = [*config.columns, *config.reduce]
    check_names(source, filled)
    specs = model_specs(config)
    check_api(config, specs)
    opened = open_source(source, config.storage) if delta is None else delta
    if isinstance(opened, VectorFolder):
        return prepare_vectors(config, source, opened, names)
    there = _ways_there(config, existing)
    with (
        resolving_columns(config, specs, resolved, there) as columns_here,
        resolving_detector_of(config) as detector_here,
    ):
        check_unmistakable(source, filled, existing.schema.names if existing else ())
        manifest = (
            opened
            if isinstance(opened, Manifest)
            else open_manifest(opened, source, work_uri, progress, config.fetch.allowed_roots)
        )
        phase(f"waiting for {', '.join(spec.name for spec in specs.values())}: libraries, weights, canary images")
        found, detector = columns_here(), detector_here()
    return _planned(config, names, manifest, found, detector, existing, moved)


def _planned(
    config: EmbedConfig,
    names: TableNames,
    manifest: Manifest,
    found: tuple[VectorColumn, ...],
    detector: DetectorDescription | None,
    existing: TableInfo | None,
    moved: bytes,
) -> Prepared:
    """The plan folded and its spaces compared with those of the table. Raises `SpaceError`, `CanaryError`,
    `PlanError`."""
    columns = found if existing is None else tuple(_as_in_table(column, existing.schema) for column in found)
    options = _options(config, manifest, detector)
    chain = operator_chain(columns, options, config.cluster)
    if manifest.columns.compared:
        chain = comparing_chain(chain, moved)
    derived = derived_columns(config, columns, chain, existing.schema if existing else None)
    chain |= reducing_chain(derived, config.storage_of_table)
    filled, kept = [column.name for column in columns], [field.name for field in manifest.columns.kept]
    labellings = labelled_columns(config, filled, kept, existing.schema if existing else None)
    chain |= labelling_operators(labellings, config.storage_of_table)
    pipeline, records = image_embedding(
        manifest=manifest,
        columns=columns,
        derived=derived,
        labellings=labellings,
        store_base=config.store_base and not _left_out(columns, existing),
        layout=config.regions.layout if config.regions else None,
        reuse=config.reuse,
        stages=arrange(chain, config.cluster.stages),
        names=names,
        images=config.storage,
        table=config.storage_of_table,
    )
    if existing is not None:
        models = {column: _arguments(column, model) for column, model in config.columns.items()}
        check_spaces(existing.schema, records, config.table, models)
        _check_canaries(found, columns)
    return Prepared(
        config=config,
        names=names,
        manifest=manifest,
        columns=columns,
        pipeline=pipeline,
        derived=derived,
        labellings=labellings,
        records=records,
        existing=existing,
    )


def _arguments(column: str, model: ModelConfig) -> ModelArguments:
    """How `pixlake add-column` and `pixlake swap` name the model of a vector column."""
    given = model.model_dump(mode="json", exclude_defaults=True, exclude={"name", "matryoshka_dims", "emulate"})
    sets = [f"--set {shlex.quote(f'model.{key}={json.dumps(value)}')}" for key, value in given.items()]
    name = derive_name(model.name) if column == VECTOR else column.removeprefix(f"{VECTOR}_")
    return ModelArguments(" ".join((f"--model {shlex.quote(model.name)}", *sets)), name)


def _options(config: EmbedConfig, manifest: Manifest, detector: DetectorDescription | None) -> Options:
    """What the user chose, with the folders that the source allows to be read."""
    roots = (*manifest.allowed_roots, *config.fetch.allowed_roots)
    return Options(
        fetch=config.fetch.model_copy(update={"storage": config.storage, "allowed_roots": roots}),
        decode=config.decode,
        normalize=config.normalize,
        regions=config.regions,
        detector=detector,
        api=config.api,
    )


def _ways_there(config: EmbedConfig, existing: TableInfo | None) -> dict[str, Numerics]:
    """Precision and backend of the columns of a table that is there, for models of precision `fastest`."""
    wanted = [column for column, model in config.columns.items() if model.precision == "fastest"]
    if existing is None:
        return {}
    stored = {column: _stored_as(column, existing.schema) for column in wanted}
    embed = {
        column: read_space(existing.schema.field(name), config.table)[0].get("embed", {})
        for column, name in stored.items()
        if name
    }
    return {name: (each.get("precision", "float32"), each.get("backend", "torch")) for name, each in embed.items()}


def _stored_as(column: str, schema: pa.Schema) -> str | None:
    """The column of the table that has the space of a model's column: itself, or one derived from it."""
    derived = [name for name, reduction in read_reductions(schema).items() if reduction.base == column]
    return next((name for name in (column, *derived) if name in schema.names), None)


def _as_in_table(column: VectorColumn, schema: pa.Schema) -> VectorColumn:
    """The column with the canaries that the table stores for it: workers check theirs against what the table was made
    of."""
    there = _stored_as(column.name, schema)
    return replace(column, canaries=read_canaries(schema.field(there))) if there else column


def _left_out(columns: Sequence[VectorColumn], existing: TableInfo | None) -> bool:
    """Whether the table was made without the base columns of its derived ones."""
    if existing is None:
        return False
    sources = {reduction.base for reduction in read_reductions(existing.schema).values()}
    return any(column.name in sources and column.name not in existing.schema.names for column in columns)


def _check_canaries(resolved: Sequence[VectorColumn], columns: Sequence[VectorColumn]) -> None:
    """Raises `CanaryError` where a model gives other vectors here and now than when the table was made."""
    for here, there in zip(resolved, columns, strict=True):
        if here.canaries is not None and there.canaries is not None:
            name, device = here.model.spec.name, here.canaries.device
            backend = here.canaries.backend
            check_canaries(there.canaries, here.canaries.to_numpy(), name=name, device=device, backend=backend)
