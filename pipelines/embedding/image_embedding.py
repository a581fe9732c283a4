"""The main pipeline: manifest -> fetch -> decode -> embed -> normalize -> vector table, for one model or several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.api.options import NO_API_OPTIONS, ApiOptions
from operators.base.operator import OperatorConfig
from operators.decode import DecodeOptions, share_pixels
from operators.detect import DetectConfig
from operators.embed import EmbedConfig
from operators.embed_api import api_embed_config, is_api
from operators.embed_patches import check_same_cells
from operators.fetch import FetchConfig
from operators.models.canaries import Canaries
from operators.models.detectors.spec import DetectorDescription
from operators.models.spec import ModelDescription, Precision
from operators.normalize import NormalizeConfig, NormalizeOptions
from operators.regions.options import DetectorOptions, PatchesOptions, RegionOptions
from operators.storage.stores import StorageOptions
from pipelines.commits.sink import Sink, vectors_schema
from pipelines.embedding.chain import decode_operators, embed_operator
from pipelines.manifests.manifest import Manifest
from pipelines.manifests.open import Source
from pipelines.run.cluster import ClusterConfig, StageConfig
from pipelines.run.stage import Pipeline, PlanError, Stage, fold_schema
from pipelines.space.record import Record, space_record, with_space
from pipelines.space.reduction import REDUCING, Reduction, reduction_chain
from pipelines.table.layout import Layout
from pipelines.table.names import TableNames

OPERATORS = ("fetch", "decode", "embed", "normalize")
"""The chain, in its one order. A cluster file says only which stage runs which of them."""

BESIDE = {"detect": "embed", "crop": "embed", **dict.fromkeys(REDUCING, "normalize")}
"""Operators that a run may have, and the one whose stage they run in where the cluster file does not name them."""


@dataclass(frozen=True, kw_only=True)
class VectorColumn:
    """A column of the table and the model that fills it."""

    name: str
    model: ModelDescription
    precision: Precision
    canaries: Canaries | None = None
    """What the model gives for the canary images, where that is checked."""


@dataclass(frozen=True, kw_only=True)
class DerivedColumn:
    """A column of the table that is made of a model's column."""

    name: str
    reduction: Reduction


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may choose about each operator, the models apart."""

    fetch: FetchConfig
    decode: DecodeOptions
    normalize: NormalizeOptions
    regions: RegionOptions | None = None
    detector: DetectorDescription | None = None
    """Of regions that a detector finds."""
    api: ApiOptions = NO_API_OPTIONS
    """Of models that are asked over the network."""


def operator_chain(
    columns: Sequence[VectorColumn], options: Options, cluster: ClusterConfig
) -> dict[str, tuple[OperatorConfig, ...]]:
    """Operator name to its configs, in the order of `OPERATORS`: one of `fetch` and `decode`, and of the others one
    for each column. Queries are embedded by the same operators."""
    preprocesses = {column.name: column.model.preprocess for column in columns}
    targets, pixels = share_pixels(preprocesses)
    read_last = {pixels[column.name]: column.name for column in columns}
    if isinstance(options.regions, PatchesOptions):
        check_same_cells(options.regions, preprocesses)
    embed = tuple(
        _embed(
            column,
            options,
            cluster,
            pixels=name,
            keep_pixels=read_last[name] != column.name,
            first=column is columns[0],
        )
        for column in columns
        for name in [pixels[column.name]]
    )
    normalize = tuple(NormalizeConfig(column=column.name, **options.normalize.model_dump()) for column in columns)
    decoding = decode_operators(options.decode, targets, options.regions, _detect(options, cluster))
    return {"fetch": (options.fetch,), **decoding, "embed": embed, "normalize": normalize}


def reducing_chain(derived: Sequence[DerivedColumn], table: StorageOptions) -> dict[str, tuple[OperatorConfig, ...]]:
    """Operator name to its configs, one for each derived column that needs it, in the order of `REDUCING`."""
    configs = [config for column in derived for config in reduction_chain(column.reduction, column.name, table)]
    named = {name: tuple(config for config in configs if config.name == name) for name in REDUCING}
    return {name: found for name, found in named.items() if found}


def _embed(
    column: VectorColumn, options: Options, cluster: ClusterConfig, *, pixels: str, keep_pixels: bool, first: bool
) -> OperatorConfig:
    if is_api(column.model):
        return api_embed_config(column.model, options.api, pixels=pixels, keep_pixels=keep_pixels, column=column.name)
    embed = EmbedConfig(
        model=column.model,
        precision=column.precision,
        device=cluster.device,
        batch_size=cluster.batch_size,
        num_threads=cluster.num_threads,
        compile=cluster.compile,
        storage=options.fetch.storage,
        canaries=column.canaries,
        pixels=pixels,
        keep_pixels=keep_pixels,
        column=column.name,
    )
    return embed_operator(embed, options.regions, makes_regions=first)


def _detect(options: Options, cluster: ClusterConfig) -> DetectConfig | None:
    if options.detector is None or not isinstance(options.regions, DetectorOptions):
        return None
    return DetectConfig(
        model=options.detector,
        options=options.regions,
        device=cluster.device,
        num_threads=cluster.num_threads,
        storage=options.fetch.storage,
    )


def arrange(chain: Mapping[str, tuple[OperatorConfig, ...]], stages: Sequence[StageConfig]) -> tuple[Stage, ...]:
    """The chain laid out over the cluster's stages. Raises `PlanError` unless each operator comes once, in order.

    Operators of `BESIDE` run in the stage of the one that they stand beside, unless the cluster file names them; it
    may name ones that this run does not have.
    """
    given = [(name, stage.name) for stage in stages for name in stage.operators if name in chain or name not in BESIDE]
    place = dict(given)
    for name in chain:
        if name not in place and name in BESIDE and BESIDE[name] in place:
            place[name] = place[BESIDE[name]]
    runs = {stage.name: [name for name in chain if place.get(name) == stage.name] for stage in stages}
    laid_out = [name for run in runs.values() for name in run]
    in_order = [name for name in chain if name in dict(given)]
    if laid_out != list(chain) or [name for name, _ in given] != in_order:
        raise PlanError(
            f"cluster.stages runs {', '.join(name for name, _ in given)}; the pipeline is {', '.join(chain)}: "
            "each operator must be in exactly one stage, in this order"
        )
    return tuple(
        Stage(
            name=stage.name,
            operators=tuple(config for name in runs[stage.name] for config in chain[name]),
            resources=stage.resources(),
        )
        for stage in stages
    )


def image_embedding(
    *,
    manifest: Manifest,
    columns: Sequence[VectorColumn],
    stages: tuple[Stage, ...],
    names: TableNames,
    images: StorageOptions,
    table: StorageOptions,
    derived: Sequence[DerivedColumn] = (),
    store_base: bool = True,
    layout: Layout | None = None,
) -> tuple[Pipeline, dict[str, Record]]:
    """The pipeline, and the space of each vector column of the table. Raises `PlanError` where a stage lacks a column
    it reads.

    Without `store_base`, columns of which others are derived are not stored themselves. `layout`: of images that have
    regions.
    """
    source = Source(columns=manifest.columns, storage=images)
    out = fold_schema(source.schema(), stages)
    stored = stored_columns(columns, derived, store_base)
    by_name = {column.name: column for column in columns}
    reductions = {column.name: column.reduction for column in derived}
    records = {name: space_record(stages, name) for name in stored}
    vectors = []
    for name in stored:
        reduction = reductions.get(name)
        model = by_name[reduction.base if reduction else name]
        vectors.append(with_space(out.field(name), records[name], model.model, model.canaries, reduction))
    sink = Sink(names=names, vectors_schema=vectors_schema(vectors, manifest.columns.kept, layout), storage=table)
    return Pipeline(source=source, stages=stages, sink=sink), records


def stored_columns(columns: Sequence[VectorColumn], derived: Sequence[DerivedColumn], store_base: bool) -> list[str]:
    """The vector columns of the table, each base column before those that are made of it."""
    stored = []
    for column in columns:
        made = [each.name for each in derived if each.reduction.base == column.name]
        stored += made if made and not store_base else [column.name, *made]
    return stored
