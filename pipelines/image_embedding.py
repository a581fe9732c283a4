"""The main pipeline: manifest -> fetch -> decode -> embed -> normalize -> vector table, for one model or several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.api_options import NO_API_OPTIONS, ApiOptions
from operators.base import OperatorConfig
from operators.canaries import Canaries
from operators.columns import pixels_name
from operators.decode import DecodeConfig, DecodeOptions, share_pixels
from operators.embed import EmbedConfig
from operators.embed_api import api_embed_config, is_api
from operators.fetch import FetchConfig
from operators.models.spec import ModelDescription, Precision
from operators.normalize import NormalizeConfig, NormalizeOptions
from operators.storage import StorageOptions
from pipelines.cluster import ClusterConfig, StageConfig
from pipelines.manifest import Manifest, SourceError
from pipelines.sinks import Sink, vectors_schema
from pipelines.sources import Source
from pipelines.space import Record, space_record, with_space
from pipelines.stage import Pipeline, PlanError, Stage, fold_schema
from pipelines.table_names import TableNames

OPERATORS = ("fetch", "decode", "embed", "normalize")
"""The chain, in its one order. A cluster file says only which stage runs which of them."""


@dataclass(frozen=True, kw_only=True)
class VectorColumn:
    """A column of the table and the model that fills it."""

    name: str
    model: ModelDescription
    precision: Precision
    canaries: Canaries | None = None
    """What the model gives for the canary images, where that is checked."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may choose about each operator, the models apart."""

    fetch: FetchConfig
    decode: DecodeOptions
    normalize: NormalizeOptions
    api: ApiOptions = NO_API_OPTIONS
    """Of models that are asked over the network."""


def operator_chain(
    columns: Sequence[VectorColumn], options: Options, cluster: ClusterConfig
) -> dict[str, tuple[OperatorConfig, ...]]:
    """Operator name to its configs, in the order of `OPERATORS`: one of `fetch` and `decode`, and of the others one
    for each column. Queries are embedded by the same operators."""
    targets, pixels = share_pixels({column.name: column.model.preprocess for column in columns})
    read_last = {pixels[column.name]: column.name for column in columns}
    decode = DecodeConfig(targets=targets, **options.decode.model_dump())
    embed = tuple(
        _embed(column, options, cluster, pixels=name, keep_pixels=read_last[name] != column.name)
        for column in columns
        for name in [pixels[column.name]]
    )
    normalize = tuple(NormalizeConfig(column=column.name, **options.normalize.model_dump()) for column in columns)
    return {"fetch": (options.fetch,), "decode": (decode,), "embed": embed, "normalize": normalize}


def _embed(
    column: VectorColumn, options: Options, cluster: ClusterConfig, *, pixels: str, keep_pixels: bool
) -> OperatorConfig:
    if is_api(column.model):
        return api_embed_config(column.model, options.api, pixels=pixels, keep_pixels=keep_pixels, column=column.name)
    return EmbedConfig(
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


def arrange(chain: Mapping[str, tuple[OperatorConfig, ...]], stages: Sequence[StageConfig]) -> tuple[Stage, ...]:
    """The chain laid out over the cluster's stages. Raises `PlanError` unless each operator comes once, in order."""
    named = [name for stage in stages for name in stage.operators]
    if named != list(chain):
        raise PlanError(
            f"cluster.stages runs {', '.join(named)}; the pipeline is {', '.join(chain)}: "
            "each operator must be in exactly one stage, in this order"
        )
    return tuple(
        Stage(
            name=s.name,
            operators=tuple(config for name in s.operators for config in chain[name]),
            resources=s.resources(),
        )
        for s in stages
    )


def image_embedding(
    *,
    manifest: Manifest,
    columns: Sequence[VectorColumn],
    stages: tuple[Stage, ...],
    names: TableNames,
    images: StorageOptions,
    table: StorageOptions,
) -> tuple[Pipeline, dict[str, Record]]:
    """The pipeline, and the space of each vector column. Raises `PlanError` where a stage lacks a column it reads."""
    source = Source(columns=manifest.columns, storage=images)
    out = fold_schema(source.schema(), stages)
    records = {column.name: space_record(stages, column.name) for column in columns}
    vectors = [
        with_space(out.field(column.name), records[column.name], column.model, column.canaries) for column in columns
    ]
    sink = Sink(names=names, vectors_schema=vectors_schema(vectors, manifest.columns.kept), storage=table)
    return Pipeline(source=source, stages=stages, sink=sink), records


def check_kept(kept: Sequence[str], vector_columns: Sequence[str]) -> None:
    """Raises `SourceError` where a manifest column to keep has a name that these vector columns take."""
    taken = {name for column in vector_columns for name in (column, pixels_name(column))}
    for name in kept:
        if name in taken:
            raise SourceError(
                f"keep: {name!r} is the name of a column that this run makes; rename the column in the manifest, or "
                "name the model otherwise (--model NAME=MODEL)"
            )
