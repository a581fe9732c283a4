"""The main pipeline: manifest -> fetch -> decode -> embed -> normalize -> vector table, for one model or several."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from operators.base.columns import IMAGE_BYTES
from operators.base.errors import PlanError
from operators.base.operator import OperatorConfig
from operators.decode import DecodeConfig
from operators.embed import EmbedPixelsConfig
from operators.embed_api import is_api
from operators.models.runtime import Runtime
from operators.storage.stores import StorageOptions
from pipelines.commits.sink import Sink, vectors_schema
from pipelines.embedding.columns import DerivedColumn, VectorColumn, stored_columns
from pipelines.manifests.manifest import Manifest
from pipelines.run.cluster import StageConfig
from pipelines.run.pipeline import Pipeline
from pipelines.run.stage import BlockParts, Reuse, Stage, fold_schema
from pipelines.sources.image_bytes import source_of
from pipelines.space.field import with_space
from pipelines.space.labelling import LABELLING, Labelling, with_labelling
from pipelines.space.record import Record, space_record
from pipelines.space.reduction import REDUCING
from pipelines.table.layout import Layout
from pipelines.table.names import TableNames

OPERATORS = ("fetch", "decode", "embed", "normalize")
"""The chain, in its one order. A cluster file says only which stage runs which of them."""

BESIDE = {"compare": "fetch", "detect": "embed", "crop": "embed", **dict.fromkeys((*REDUCING, *LABELLING), "normalize")}
"""Operator that some runs have -> the one in whose stage it runs, unless the cluster file names it."""


BEFORE = ("fetch", "compare")
"""What comes before the work that bytes decide."""

PART_BYTES = 24 << 20
"""Most pixels that a stage on CPUs has of one block."""


def arrange(chain: Mapping[str, tuple[OperatorConfig, ...]], stages: Sequence[StageConfig]) -> tuple[Stage, ...]:
    """The chain laid out over the cluster's stages. Raises `PlanError` unless each operator comes once, in order.

    Operators of `BESIDE` run in the stage of the operator given there, unless the cluster file names them. The file may
    name operators that this run does not have.
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


def _reusing(stages: tuple[Stage, ...], given: Sequence[str]) -> tuple[Stage, ...]:
    """The stages, of which the last works on images with the same bytes once, if it is the one that embeds. `given` are
    the columns of the source.

    In a stage that only decodes nothing is spared: it would have to keep pixels, 150 KB an image.
    """
    *before, last = stages
    names = [operator.name for operator in last.operators]
    if "embed" not in names:
        return stages
    # Beside the bytes, of which sha256 is the digest, all decides that operators read of the source.
    reads = {name for stage in stages for each in stage.operators if each.name not in BEFORE for name in each.reads}
    decided_by = tuple(sorted(reads & set(given) - {IMAGE_BYTES.name}))
    first = max((names.index(name) + 1 for name in BEFORE if name in names), default=0)
    return (*before, replace(last, reuse=Reuse(first=first, decided_by=decided_by)))


def _in_parts(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages. One that decodes whole images and embeds them on CPUs does so with a part of a block after the other,
    each of whole forward passes: only what leaves a stage has to be there at once."""
    return tuple(replace(stage, parts=_parts(stage.operators)) for stage in stages)


def _parts(operators: Sequence[OperatorConfig]) -> BlockParts | None:
    decode = next((each for each in operators if isinstance(each, DecodeConfig)), None)
    embed = [each for each in operators if each.name == "embed"]
    if decode is None or decode.regions is not None or not embed or "crop" in [each.name for each in operators]:
        return None
    here = [each for each in embed if isinstance(each, EmbedPixelsConfig) and each.device == "cpu"]
    if len(here) < len(embed):
        return None
    pixels = sum(3 * target.height * target.width for target in decode.targets.values())
    step = math.lcm(*(Runtime(batch_size=each.batch_size).images_per_pass for each in here))
    return BlockParts(first=operators.index(decode), rows=max(PART_BYTES // pixels // step, 1) * step)


def image_embedding(
    *,
    manifest: Manifest,
    columns: Sequence[VectorColumn],
    stages: tuple[Stage, ...],
    names: TableNames,
    images: StorageOptions,
    table: StorageOptions,
    derived: Sequence[DerivedColumn] = (),
    labellings: Mapping[str, Labelling] | None = None,
    store_base: bool = True,
    layout: Layout | None = None,
    reuse: bool = False,
) -> tuple[Pipeline, dict[str, Record]]:
    """The pipeline, and the space of each vector column of the table. Raises `PlanError` where a stage lacks a column
    it reads.

    `labellings` are columns (name -> how it is made) that say which group a vector is of. Without `store_base`, columns
    that others are derived from are not stored themselves. `layout` says how regions are
    stored, where images have them. With `reuse` each worker works on images with the same bytes once.
    """
    source = source_of(manifest.columns, images)
    if reuse and not any(is_api(column.model) for column in columns):
        stages = _reusing(stages, source.schema().names)
    stages = _in_parts(stages)
    out = fold_schema(source.schema(), stages)
    stored = stored_columns(columns, derived, store_base)
    by_name = {column.name: column for column in columns}
    reductions = {column.name: column.reduction for column in derived}
    operators = [operator for stage in stages for operator in stage.operators]
    records = {name: space_record(operators, name) for name in stored}
    vectors = []
    for name in stored:
        reduction = reductions.get(name)
        model = by_name[reduction.base if reduction else name]
        vectors.append(with_space(out.field(name), records[name], model.model, model.canaries, reduction))
    vectors += [with_labelling(out.field(name), labelling) for name, labelling in (labellings or {}).items()]
    sink = Sink(names=names, vectors_schema=vectors_schema(vectors, manifest.columns.kept, layout), storage=table)
    return Pipeline(source=source, stages=stages, sink=sink), records
