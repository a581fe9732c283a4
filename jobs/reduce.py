"""`pixlake reduce`: a column derived from the vectors that a table holds, without touching an image."""

import time
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field, field_validator

from jobs.config.model_names import check_column_name, trained_dims
from jobs.config.read import ClusterReadConfig
from jobs.session.progress import Progress
from jobs.session.ray_cluster import fragment_tasks
from operators.base.arrays import vectors_from_numpy
from operators.base.errors import UserError
from operators.base.operator import OperatorConfig
from operators.models.spec import ModelDescription
from operators.storage.artifacts import write_artifact
from operators.vectors.codecs import FITTED, fit_codec
from pipelines.derivation.column import derive_column
from pipelines.derivation.record import NOTHING, add_to_derive_record, read_derive_record
from pipelines.space.choose import base_columns, choose_base
from pipelines.space.field import read_canaries, read_reduction, read_reductions, read_space, with_space
from pipelines.space.flat import flat_numpy
from pipelines.space.record import Record, reduced_record
from pipelines.space.reduce_options import (
    LATEST,
    MAKERS,
    ReduceOptions,
    latest_fitted,
    locate_artifacts,
    record_before_quantizing,
    resolve_reduction,
    with_quantizer,
)
from pipelines.space.reduction import ReduceVectors, Reduction, describe_reduction, reduction_chain
from pipelines.space.samples import sample_vectors
from pipelines.table.errors import RefusedError

PQ_BYTES = 32


class ReduceConfig(ClusterReadConfig, ReduceOptions):
    """Which column is made, from which, and how."""

    column: str
    """The new column."""
    pq_bytes: int | None = Field(default=None, ge=1)
    """Length of pq codes, for a codebook that is fitted here; default 32."""
    sample: int = Field(default=65_536, ge=1)
    """Rows that a quantizer is fitted on, where one must be."""

    @field_validator("column")
    @classmethod
    def _is_a_column_name(cls, name: str) -> str:
        return check_column_name(name)

    @property
    def options(self) -> ReduceOptions:
        return ReduceOptions(**{name: getattr(self, name) for name in ReduceOptions.model_fields})


class ReduceReport(BaseModel):
    """The derived column, and what this run did to it."""

    table: str
    version: int
    column: str
    reduction: Reduction
    bytes_per_vector: int
    rows: int
    """Rows that this run filled."""
    without_source: int
    """Rows that stay null because the base column is null there."""
    not_finite: int
    """Rows that stay null because their vector has a number in it that is not finite."""
    impossible: int
    """Rows that stay null because nothing is left of their vector (zero after truncation)."""
    impossible_ids: tuple[str, ...]
    """`id` of up to 20 rows whose vector nothing is left of."""
    quantizer: dict[str, Any] | None
    """How the quantizer was fitted, where this run fitted one: rows, and the cosine of vectors to their codes."""
    seconds: float
    """What this run took, fitting included."""


@dataclass(frozen=True)
class ReduceRows:
    """What a worker computes: rows of the base column to values of the derived one."""

    reduce: ReduceVectors

    def __call__(self, rows: pa.Table) -> pa.Array:
        return self.reduce(rows[self.reduce.source].combine_chunks())[0]


def run(config: ReduceConfig) -> ReduceReport:
    """Make the column and fill it. Raises `UserError` for what cannot be made of this table, `TableError` and `OSError`
    where storage fails."""
    began = time.monotonic()
    table = config.stored
    dataset = table.latest()
    base = choose_base(
        config.base,
        base_columns(config.table, dataset.schema),
        where=f"table {config.table}",
        option="--base",
        derived=read_reductions(dataset.schema),
    )
    field = dataset.schema.field(base)
    record, model = read_space(field, config.table)
    with Progress() as progress:
        reduction = _as_there(config, dataset.schema, _asked_for(config, base, record, model))
        fitted = None
        if reduction.precision in FITTED and reduction.quantizer is None:
            progress.phase(f"fitting {reduction.precision} on a sample of {base}")
            reduction, fitted = _fit_quantizer(config, dataset, reduction, record)
        chain = reduction_chain(
            locate_artifacts(reduction, table.artifacts, table.storage), config.column, table.storage
        )
        target = with_space(
            _target(chain, field, config.column),
            reduced_record(record, chain, config.column),
            model,
            read_canaries(field),
            reduction,
        )
        progress.phase(f"making {config.column} {describe_reduction(reduction)}")
        with fragment_tasks(config.cluster, dataset.count_rows()) as execute:
            done = derive_column(
                table,
                target,
                base,
                ReduceRows(ReduceVectors(chain, base, config.column)),
                execute=execute,
                on_rows=lambda rows, total: progress.counted(f"{rows:,} of {total:,} rows", rows / max(total, 1)),
            )
    seconds = time.monotonic() - began
    if done.rows:
        # Of a column of this name that was dropped since, nothing is counted.
        earlier = read_derive_record(dataset, config.column) if config.column in dataset.schema.names else None
        add_to_derive_record(table, config.column, earlier or NOTHING, done.rows, seconds)
    return ReduceReport(
        table=config.table,
        version=done.version,
        column=config.column,
        reduction=reduction,
        bytes_per_vector=_bytes(target.type),
        rows=done.rows,
        without_source=done.without_source,
        not_finite=done.not_finite,
        impossible=done.impossible,
        impossible_ids=done.impossible_ids,
        quantizer=fitted,
        seconds=round(seconds, 3),
    )


def _asked_for(config: ReduceConfig, base: str, record: Record, model: ModelDescription) -> Reduction:
    """The reduction of the base column that the options ask for. Raises `UserError` for one that cannot be made."""
    options, table = config.options, config.stored
    for kind in MAKERS:
        if getattr(options, kind) == LATEST:
            found = latest_fitted(kind, table.artifacts, base, record, table.storage)
            options = options.model_copy(update={kind: found})
    return resolve_reduction(
        options,
        column=config.column,
        base=base,
        dim=model.dim,
        record=record,
        trained_dims=trained_dims(model),
        storage=table.storage,
    )


def _as_there(config: ReduceConfig, schema: pa.Schema, asked: Reduction) -> Reduction:
    """The reduction of the column, if the table has it already: the same command goes on with the same quantizer."""
    if config.column not in schema.names:
        return asked
    there = read_reduction(schema.field(config.column))
    if there is None:
        raise RefusedError(f"table {config.table}: {config.column} is there, and was not made by `pixlake reduce`")
    if asked.quantizer is None:
        pq_bytes = (config.pq_bytes or there.pq_bytes) if asked.precision == "pq" else None
        asked = asked.model_copy(update={"quantizer": there.quantizer, "pq_bytes": pq_bytes})
    if not asked.makes_the_same(there):
        raise RefusedError(
            f"table {config.table}: {config.column} is there, made {_told(there)}; asked for is {_told(asked)}. Choose "
            "another name"
        )
    return there


def _told(reduction: Reduction) -> str:
    """The reduction in words, with the file of the PCA or head, since two may have the same length."""
    pca = f" (the PCA {reduction.pca.artifact.uri})" if reduction.pca else ""
    head = f" (the head {reduction.head.artifact.uri})" if reduction.head else ""
    return describe_reduction(reduction) + pca + head


def _fit_quantizer(
    config: ReduceConfig, dataset: Any, reduction: Reduction, record: Record
) -> tuple[Reduction, dict[str, Any]]:
    stored = sample_vectors(dataset, reduction.base, config.sample)
    if not len(stored):
        raise UserError(
            f"table {config.table}: {reduction.base} holds no vectors to fit {reduction.precision} on; embed first, or "
            "name what an earlier `pixlake reduce` fitted with --quantizer"
        )
    sample = vectors_from_numpy(stored)
    plain = reduction.model_copy(update={"precision": "float32"})
    chain = reduction_chain(plain, config.column, config.storage_of_table)[:-1]
    made, _ = ReduceVectors(chain, reduction.base, config.column)(sample)
    artifact = fit_codec(
        reduction.precision,
        flat_numpy(made.drop_null()).astype("float32"),
        pq_bytes=config.pq_bytes or PQ_BYTES,
        space=record_before_quantizing(reduction, config.column, record),
    )
    ref = write_artifact(artifact, config.stored.artifacts, config.storage_of_table)
    filled = with_quantizer(reduction, ref, artifact, column=config.column, record=record)
    return filled, {"rows": artifact.rows, **artifact.settings}


def _target(chain: tuple[OperatorConfig, ...], field: pa.Field, column: str) -> pa.Field:
    schema = pa.schema([field])
    for operator in chain:
        schema = operator.output_schema(schema)
    return schema.field(column)


def _bytes(kind: pa.DataType) -> int:
    """Bytes of one vector."""
    vector = kind.value_type if pa.types.is_list(kind) else kind
    size: int = vector.list_size * vector.value_type.bit_width // 8
    return size


def as_text(report: ReduceReport) -> str:
    """A few lines for a person."""
    lines = [
        f"column     {report.column} {describe_reduction(report.reduction)}",
        *([f"pca        {report.reduction.pca.artifact.uri}"] if report.reduction.pca else []),
        *([f"head       {report.reduction.head.artifact.uri}"] if report.reduction.head else []),
        f"size       {report.bytes_per_vector:,} bytes a vector",
        f"rows       {report.rows:,} filled now" + ("" if report.rows else ": nothing to do"),
    ]
    if report.quantizer:
        fitted, line = report.quantizer, f"quantizer  fitted on {report.quantizer['rows']:,} vectors"
        if report.reduction.precision != "binary":
            # Bits are compared with the query's bits, so a vector is always 1 to its own.
            line += f", whose cosine to their codes is {fitted['self_score_mean']:.4f} on average"
            line += f", {fitted['self_score_min']:.4f} at least"
        lines.append(line)
        assert report.reduction.quantizer is not None
        lines.append(f"           {report.reduction.quantizer.uri}")
    if report.without_source:
        lines.append(f"left null  {report.without_source:,} rows without a vector to reduce")
    if report.not_finite:
        lines.append(f"left null  {report.not_finite:,} rows with a number in their vector that is not finite")
    if report.impossible:
        lines.append(
            f"left null  {report.impossible:,} rows of whose vector nothing is left: {', '.join(report.impossible_ids)}"
        )
    return "\n".join(lines)
