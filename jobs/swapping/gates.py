"""All gates of a model swap, measured on one version of the table; nothing is written."""

from datetime import UTC, datetime
from typing import Any

from jobs.session.progress import Progress
from jobs.swapping.column_gates import canary_gate, vector_gates
from jobs.swapping.gate_report import Gate, GateConfig, GateReport, failed_gates
from jobs.swapping.quality import Comparison, by_copies, by_labels, by_queries, not_measured
from jobs.swapping.query_set import read_query_set
from operators.api.options import ApiOptions
from operators.fetching.options import FetchOptions
from operators.storage.stores import StorageOptions
from pipelines.evaluation.labels import check_label
from pipelines.gate.by_sample import SampleMeasures, measure_sample
from pipelines.index.records import column_metric
from pipelines.reread.packed import PackedRows
from pipelines.search.column import SearchColumn, search_column
from pipelines.table.table import Table


def run_gates(
    config: GateConfig,
    table: Table,
    *,
    old: str,
    new: str,
    storage: StorageOptions,
    fetch: FetchOptions,
    api: ApiOptions,
    packed: PackedRows,
    progress: Progress,
) -> GateReport:
    """Measure whether the column `new` may take the place of `old`. Both are columns that models fill.

    `storage` opens images and weights, `fetch` with its allowed folders reads images as the embed job does, `packed`
    finds those within tars and Parquet files. Raises `UserError` for a label, a query set or a model that cannot be
    used at all, before much is measured; a gate that cannot be measured on this table says so in the report.
    """
    dataset = table.latest()
    if config.label is not None:
        check_label(str(table), dataset.schema, config.label, "gates.label")
    queries = read_query_set(config.queries, storage) if config.queries is not None else None
    compared = Comparison(
        config=config,
        table=table,
        dataset=dataset,
        old=_column(table, dataset, old),
        new=_column(table, dataset, new),
        storage=storage,
        fetch=fetch.model_copy(update={"storage": storage}),
        api=api,
        packed=packed,
        progress=progress,
    )
    gates = [*vector_gates(compared), canary_gate(table, dataset, new, storage, progress)]
    progress.phase(f"comparing neighbours in {old} and {new}")
    sample = measure_sample(dataset, compared.old, compared.new, config.label, count=config.sample, seed=config.seed)
    if config.label is not None:
        gates += by_labels(compared, sample)
    if queries is not None:
        gates += by_queries(compared, queries)
    if config.label is None and queries is None:
        gates += by_copies(compared)
    gates.append(_overlap_gate(sample))
    return GateReport(
        table=str(table),
        version=dataset.version,
        old=old,
        new=new,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        gates=gates,
        failed=failed_gates(gates, config.required),
    )


def _column(table: Table, dataset: Any, name: str) -> SearchColumn:
    field = dataset.schema.field(name)
    return search_column(field, table.storage, artifacts=table.artifacts, metric=column_metric(dataset, name))


def _overlap_gate(sample: SampleMeasures | None) -> Gate:
    if sample is None:
        return not_measured("overlap", "too few rows have both vectors")
    return Gate(
        name="overlap",
        new=sample.overlap,
        passed=None,
        how=f"share of the {sample.k} nearest by the old column that are so by the new one, over {sample.queries:,} "
        "rows as queries; shown, not judged: a better model has other neighbours",
        rows=sample.queries,
    )
