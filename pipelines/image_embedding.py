"""The main pipeline: manifest -> fetch -> decode -> embed -> normalize -> vector table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.base import OperatorConfig
from operators.decode import DecodeConfig, DecodeOptions
from operators.embed import EmbedConfig
from operators.fetch import FetchConfig
from operators.models.spec import ModelDescription, Precision
from operators.normalize import NormalizeConfig
from operators.storage import StorageOptions
from pipelines.cluster import ClusterConfig, StageConfig
from pipelines.manifest import Manifest
from pipelines.sinks import Sink, vectors_schema
from pipelines.sources import Source
from pipelines.space import Record, space_record, with_space
from pipelines.stage import Pipeline, PlanError, Stage, fold_schema
from pipelines.table_names import TableNames

OPERATORS = ("fetch", "decode", "embed", "normalize")
"""The chain, in its one order. A cluster file says only which stage runs which of them."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may choose about each operator, the model apart."""

    fetch: FetchConfig
    decode: DecodeOptions
    normalize: NormalizeConfig


def operator_chain(
    model: ModelDescription, precision: Precision, options: Options, cluster: ClusterConfig
) -> dict[str, OperatorConfig]:
    """Operator name to its config, in the order of `OPERATORS`. Queries are embedded by the same four."""
    decode = DecodeConfig(preprocess=model.preprocess, **options.decode.model_dump())
    embed = EmbedConfig(
        model=model,
        precision=precision,
        device=cluster.device,
        batch_size=cluster.batch_size,
        num_threads=cluster.num_threads,
        compile=cluster.compile,
    )
    return {"fetch": options.fetch, "decode": decode, "embed": embed, "normalize": options.normalize}


def arrange(chain: Mapping[str, OperatorConfig], stages: Sequence[StageConfig]) -> tuple[Stage, ...]:
    """The chain laid out over the cluster's stages. Raises `PlanError` unless each operator comes once, in order."""
    named = [name for stage in stages for name in stage.operators]
    if named != list(chain):
        raise PlanError(
            f"cluster.stages runs {', '.join(named)}; the pipeline is {', '.join(chain)}: "
            "each operator must be in exactly one stage, in this order"
        )
    return tuple(
        Stage(name=s.name, operators=tuple(chain[name] for name in s.operators), resources=s.resources())
        for s in stages
    )


def image_embedding(
    *, manifest: Manifest, stages: tuple[Stage, ...], names: TableNames, images: StorageOptions, table: StorageOptions
) -> tuple[Pipeline, Record]:
    """The pipeline and its space. Raises `PlanError` where a stage lacks a column it reads."""
    source = Source(columns=manifest.columns, storage=images)
    out = fold_schema(source.schema(), stages)
    record = space_record(stages)
    model = next(o.model for s in stages for o in s.operators if isinstance(o, EmbedConfig))
    vector = with_space(out.field("vector"), record, model)
    sink = Sink(names=names, vectors_schema=vectors_schema(vector, manifest.columns.kept), storage=table)
    return Pipeline(source=source, stages=stages, sink=sink), record
