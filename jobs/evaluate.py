"""`pixlake evaluate`: what each representation of a table's vectors and each index finds, weighs and takes; of the rows
that searches look among, without those that a refresh has marked as deleted."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from jobs.config.read import PastReadConfig
from jobs.reports.evaluation import ColumnsOfModel, Evaluation, WayResult
from jobs.reports.evaluation_plot import draw
from jobs.reports.run_report import store_bytes, store_run_file
from jobs.session.progress import Progress
from operators.base.errors import UserError
from pipelines.derivation.record import DeriveRecord, read_derive_record
from pipelines.evaluation.labels import Labels, check_label
from pipelines.evaluation.measure import MeasuredWay, Scan, measure_column, scan_column, wanted_ks
from pipelines.evaluation.queries import as_queries, draw_with_image, has_vectors
from pipelines.evaluation.ways import vector_bytes
from pipelines.index.records import column_metric
from pipelines.neighbours.queries import Queries
from pipelines.scan.live import count_marked, live_rows
from pipelines.search.column import SearchColumn, search_column
from pipelines.space.check import check_reduction
from pipelines.space.choose import base_columns
from pipelines.space.field import read_reductions, read_space
from pipelines.space.reduction import describe_reduction


class EvaluateConfig(PastReadConfig):
    """Which table is evaluated, and with how many of its rows as queries."""

    queries: int = Field(default=200, ge=1)
    seed: int = Field(default=0, ge=0)
    label: str | None = None
    """A column with labels, or a field of a struct: `region.label`."""
    timing_queries: int = Field(default=50, ge=0)
    """Most single searches that are timed for each way; 0 for none."""
    plot: str | None = None
    """Path or URI of the PNG; beside the JSON unless given."""


@dataclass(frozen=True, kw_only=True)
class _Group:
    """A base column with what is derived from it, and rows that have a vector in each of these columns."""

    columns: list[SearchColumn]
    """The base column first; none where no row has a vector there."""
    queries: Queries
    labels: Labels | None
    empty: dict[str, str]
    """Column without a vector in any of the rows -> a line that says so."""


def run(config: EvaluateConfig) -> Evaluation:
    """Evaluate the table. Raises `UserError` where there is nothing to compare or the label is not a column, `OSError`
    where storage fails."""
    table = config.stored
    dataset = config.vectors
    if config.label is not None:
        check_label(config.table, dataset.schema, config.label)
    made_at = datetime.now(UTC)
    run_id = f"evaluate-{made_at:%Y%m%dT%H%M%S%fZ}"
    groups = [_draw_group(config, dataset, base) for base in base_columns(config.table, dataset.schema)]
    not_measured = _without_base(config.table, dataset.schema)
    for group in groups:
        not_measured |= group.empty
    with Progress() as progress:
        measured = [_measure(config, dataset, group, progress) for group in groups if group.columns]
    if not measured:
        raise UserError(
            f"table {config.table}: nothing to measure: "
            + "; ".join(f"{name}: {why}" for name, why in not_measured.items())
        )
    evaluation = Evaluation(
        table=config.table,
        version=dataset.version,
        made_at=made_at.isoformat(timespec="seconds"),
        seed=config.seed,
        label=config.label,
        models=measured,
        not_measured=not_measured,
        marked_deleted=count_marked(dataset),
        json_file=f"{table.names.runs}/{run_id}/evaluation.json",
        plot_file=config.plot or f"{table.names.runs}/{run_id}/evaluation.png",
    )
    store_run_file(evaluation, run_id, "evaluation.json", table.names, table.storage)
    store_bytes(draw(evaluation), evaluation.plot_file, table.storage)
    return evaluation


def _without_base(table: str, schema: pa.Schema) -> dict[str, str]:
    """Derived columns that cannot be measured, each with the reason."""
    bases = base_columns(table, schema)
    return {
        name: f"the table does not store {reduction.base}, the vectors to compare with"
        for name, reduction in read_reductions(schema).items()
        if reduction.base not in bases
    }


def _draw_group(config: EvaluateConfig, dataset: Any, base: str) -> _Group:
    schema = dataset.schema
    names = [base, *(name for name, reduction in read_reductions(schema).items() if reduction.base == base)]
    label = [config.label] if config.label else []
    rows = draw_with_image(dataset, [*names, *label], config.queries, config.seed)
    rows = rows.filter(has_vectors(rows[base]))
    there = [name for name in names if pc.any(has_vectors(rows[name])).as_py()]
    for name in there:
        check_reduction(schema.field(name), config.table)
        rows = rows.filter(has_vectors(rows[name]))
    if there and not len(rows):
        raise UserError(
            f"table {config.table}: no row that was drawn has a vector in all of {', '.join(there)}; the same "
            "`pixlake reduce` again fills what is missing"
        )
    if there and config.label and not rows[config.label].is_valid().to_numpy().any():
        raise UserError(f"table {config.table}: none of {len(rows):,} rows that were drawn has a {config.label}")
    return _Group(
        columns=[
            search_column(
                schema.field(name),
                config.storage_of_table,
                artifacts=config.stored.artifacts,
                metric=column_metric(dataset, name),
            )
            for name in there
        ],
        queries=as_queries(dataset, rows, base),
        labels=Labels(column=config.label, of_queries=rows[config.label].combine_chunks()) if config.label else None,
        empty={name: f"no vector in the {len(rows):,} rows that were drawn" for name in names if name not in there},
    )


def _measure(config: EvaluateConfig, dataset: Any, group: _Group, progress: Progress) -> ColumnsOfModel:
    base, queries = group.columns[0], group.queries
    progress.phase(f"comparing {len(queries):,} rows with all in {base.name}")
    live = live_rows(dataset.schema)
    truth = scan_column(dataset, base, queries, group.labels, live)
    if not wanted_ks(truth.rows, queries):
        raise UserError(f"table {config.table}: {base.name} has no vectors beside those of one image")
    results: list[WayResult] = []
    for column in group.columns:
        progress.phase(f"measuring {column.name}")
        scan = truth if column is base else scan_column(dataset, column, queries, group.labels, live)
        size = vector_bytes(dataset.schema.field(column.name))
        record = read_derive_record(dataset, column.name)
        results += [
            _result(measured, scan, size, record)
            for measured in measure_column(
                dataset,
                column,
                base,
                queries,
                truth,
                scan,
                labels=group.labels,
                timed=config.timing_queries,
            )
        ]
    _, model = read_space(dataset.schema.field(base.name), config.table)
    return ColumnsOfModel(
        column=base.name, model=model.spec.name, dim=model.dim, rows=truth.rows, queries=len(queries), ways=results
    )


def _result(measured: MeasuredWay, scan: Scan, column_bytes: float, record: DeriveRecord | None) -> WayResult:
    way, index = measured.way, measured.way.index
    indexed = sum(scan.vectors.get(fragment, 0) for fragment in index.fragments) if index else 0
    made = index or record
    reduction = way.column.reduction
    return WayResult(
        name=way.name,
        column=way.column.name,
        made=describe_reduction(reduction) if reduction else "by the model",
        metric=way.column.metric,
        index=index.name if index else None,
        index_type=index.type if index else None,
        nprobes=way.probe.nprobes,
        refine=way.probe.refine,
        unindexed_rows=index.unindexed_rows if index else None,
        rescored=way.rescored,
        bytes_per_vector=index.size_bytes / max(indexed, 1) if index else column_bytes,
        build_seconds=made.seconds if made else None,
        build_rows=record.rows if record and not index else None,
        recall=measured.recall,
        p50_ms=measured.p50_ms,
        p99_ms=measured.p99_ms,
        timed_queries=measured.timed,
        accuracy=measured.accuracy,
        mean_average_precision=measured.mean_average_precision,
    )
