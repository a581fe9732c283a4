"""`pixlake index`: a measured index on a column of vectors, and indexes on the columns that filters name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from jobs.config.read import ClusterReadConfig
from jobs.session.progress import working
from jobs.session.ray_cluster import fragment_tasks
from operators.base.counted import counted
from operators.base.errors import UserError
from pipelines.filter_index.build import LOOKED_UP, Brought, bring_up, filters_of_ours, scalar_columns
from pipelines.filter_index.former import former_indexes
from pipelines.filter_index.trust import hides_vectors
from pipelines.index.build import MOST_SEGMENTS, IndexWork, SearchGoal, Truth, find_truth
from pipelines.index.deleted_entries import may_give_deleted
from pipelines.index.exact import draw_queries
from pipelines.index.plan import WantedMetric, WantedType, choose_metric, few, plan_indexes
from pipelines.index.publish import Tried, build_index, update_index
from pipelines.index.records import IndexRecord, read_index_record, unindexed_rows
from pipelines.neighbours.queries import Queries
from pipelines.run.cluster import ClusterConfig
from pipelines.run.resources import cpus_needed
from pipelines.space.choose import choose_column
from pipelines.space.field import read_space
from pipelines.space.flat import Metric
from pipelines.table.errors import FilterIndexError, RecallError
from pipelines.table.landing import lancedb_line
from pipelines.table.table import open_dataset
from pipelines.table.tasks import RunTasks, tasks_here

TARGET = 0.95
LEAST_WORKERS = 2

NUMBERS = ("num_partitions", "num_sub_vectors", "num_bits", "m", "ef_construction", "sample_rows")
"""Numbers that decide how an index is built, and stay as they are when it is updated."""


class IndexConfig(ClusterReadConfig):
    """One build, or one update. The file of the embed job serves, its `cluster` included."""

    column: str | None = None
    """The vector column; must be given where there are several."""
    type: WantedType = "auto"
    """`auto` builds the smallest type first, and goes on to larger ones until the target is reached."""
    metric: WantedMetric = "auto"
    """`auto`: hamming for packed bits, cosine for everything else."""
    target_recall: float | None = Field(default=None, gt=0, le=1)
    """Least index recall@10. Default 0.95, or what the index was built for."""
    scalar: tuple[str, ...] = ()
    """`COLUMN` or `COLUMN=KIND`, beside `id`, `uri` and `region_id`."""
    update: bool = False
    """Index the rows that the index lacks, with the model that it has."""
    num_partitions: int | None = Field(default=None, ge=1)
    num_sub_vectors: int | None = Field(default=None, ge=1)
    num_bits: int | None = Field(default=None, ge=1, le=9)
    m: int | None = Field(default=None, ge=2)
    """Edges of each vector in an HNSW graph."""
    ef_construction: int | None = Field(default=None, ge=2)
    """Candidates that are looked at for these edges."""
    sample_rows: int | None = Field(default=None, ge=1)
    """Rows that centroids are trained on."""
    nprobes: int | None = Field(default=None, ge=1)
    refine: int | None = Field(default=None, ge=1)
    queries: int = Field(default=200, ge=1)
    """Rows of the table that the index recall is measured with."""
    seed: int = Field(default=0, ge=0)
    most_segments: int = Field(default=MOST_SEGMENTS, ge=1)
    """Segments of an index from which on an update builds all of it again, with the model that it has."""
    workers: int | None = Field(default=None, ge=1)
    """Tasks of one CPU that build an index; unless given, as many as the Ray cluster has CPUs."""

    @model_validator(mode="after")
    def _update_builds_nothing_else(self) -> "IndexConfig":
        chosen = [name for name in ("type", "metric", *NUMBERS) if getattr(self, name) not in (None, "auto")]
        if self.update and chosen:
            raise ValueError(
                f"an update keeps what the index was built with; leave out {', '.join(chosen)}, or build without update"
            )
        return self

    @property
    def given(self) -> dict[str, int]:
        """The numbers that were set, among those that decide how an index is built."""
        return {name: value for name in NUMBERS if (value := getattr(self, name)) is not None}


class IndexResult(BaseModel):
    """What was done, and what is in force now."""

    table: str
    column: str
    status: Literal["built", "updated", "up_to_date", "not_needed", "filters_alone"]
    index: IndexRecord | None
    """The index in force on the column; None where Pixlake built none."""
    tried: list[dict[str, Any]]
    """Candidate indexes of a build in order, the published one last."""
    unindexed_rows: int
    """Rows that came while this was going on: searches compare them one by one until the next update."""
    without_vector: int | None
    """Rows with nothing in the column; None where it was not read through."""
    without_direction: int | None
    """Rows that no search finds: with a number that is not finite or, for cosine, only zeros."""
    scalar: dict[str, str]
    """Column -> kind of its filter index, each on every row that was there at the start."""
    renewed: dict[str, str]
    """Column -> why its filter index was made anew."""


def run(config: IndexConfig) -> IndexResult:
    """Build or update the indexes. Raises `UserError` for a column that cannot be indexed as asked, `RecallError` where
    the target is not reached."""
    dataset = config.stored.latest()
    column = choose_column(config.table, dataset.schema, config.column)
    metric = choose_metric(dataset.schema.field(column), config.metric)
    former = former_indexes(dataset, LOOKED_UP, config.storage_of_table)
    kinds = scalar_columns(dataset, LOOKED_UP, config.scalar, former)
    old = read_index_record(dataset, column)
    if config.update and old is None and not former and not filters_of_ours(dataset):
        raise UserError(
            f"table {config.table}: {column} has no index of Pixlake's to update; `pixlake index {config.table} "
            f"--column {column}` builds one"
        )
    with _work(config, dataset) as work:
        result = _vectors(config, column, metric, work, old)
        with working("indexing columns for filters"):
            brought = {
                name: bring_up(work, name, kind, [each for each in former if each.column == name])
                for name, kind in kinds.items()
            }
    _check_refused(config.table, brought, result)
    assert isinstance(result, IndexResult)
    latest = open_dataset(dataset.uri, config.storage_of_table) or dataset
    return result.model_copy(
        update={
            "scalar": kinds,
            "renewed": {name: each.why for name, each in brought.items() if each.status == "anew"},
            "unindexed_rows": unindexed_rows(latest, column),
        }
    )


def _vectors(
    config: IndexConfig, column: str, metric: Metric, work: IndexWork, old: IndexRecord | None
) -> "IndexResult | RecallError":
    """Index the vectors, and hold an error back: an index that finds too little is reported after the filter indexes
    are done, since they may be what is to be mended."""
    try:
        if not config.update:
            return _build(config, column, metric, work, old)
        if old is None:
            return _result(config, column, "filters_alone", None)
        return _update(config, column, work, old)
    except RecallError as error:
        return error


def _check_refused(table: str, brought: Mapping[str, Brought], result: "IndexResult | RecallError") -> None:
    """Raises `RecallError` or `FilterIndexError` that says why each index was not published, and what to do."""
    refused = [each.why for each in brought.values() if each.status == "refused"]
    if isinstance(result, RecallError):
        raise RecallError("\n  ".join([str(result), *refused])) from result
    if refused:
        done = ", ".join(name for name, each in brought.items() if each.status != "refused")
        raise FilterIndexError(
            f"table {table}: " + "\n  ".join(refused) + (f"\n  All else is done; filters: {done}" if done else "")
        )


@contextmanager
def _work(config: IndexConfig, dataset: Any) -> Iterator[IndexWork]:
    with fragment_tasks(config.cluster, dataset.count_rows()) as execute:
        workers = config.workers or _workers(config.cluster, execute)
        yield IndexWork(
            table=config.stored,
            dataset=dataset,
            execute=execute,
            workers=workers,
            most_segments=config.most_segments,
        )


def _workers(cluster: ClusterConfig, execute: RunTasks) -> int:
    """Number of tasks: one in this process, where Lance uses every core by itself."""
    if execute is tasks_here:
        return 1
    import ray

    # A Ray that was started here counts a few CPUs that no machine has.
    return max(LEAST_WORKERS, int(ray.cluster_resources().get("CPU", 0) - cpus_needed((), cluster.num_writers)))


def _build(config: IndexConfig, column: str, metric: Metric, work: IndexWork, old: IndexRecord | None) -> IndexResult:
    field, rows = work.dataset.schema.field(column), work.dataset.count_rows()
    queries = _queries(config, column, work)
    vectors = round(rows * float(queries.counts.mean()))
    if config.type == "auto" and few(vectors, field.type):
        return _result(config, column, "not_needed", old)
    _check_not_hidden(config, column, work.dataset)
    specs = plan_indexes(field, wanted=config.type, metric=metric, rows=vectors, seed=config.seed, given=config.given)
    with working(f"indexing {counted(rows, 'row')}"):
        truth = find_truth(work, column, metric, queries)
        record, tried = build_index(work, specs, truth, _goal(config, TARGET), space=read_space(field, config.table)[0])
    return _result(config, column, "built", record, tried, truth)


def _update(config: IndexConfig, column: str, work: IndexWork, old: IndexRecord) -> IndexResult:
    missing = unindexed_rows(work.dataset, column)
    anew = may_give_deleted(work.dataset, column)
    if not missing and not anew:
        return _result(config, column, "up_to_date", old)
    _check_not_hidden(config, column, work.dataset)
    with working(
        "indexing all rows: the index may hold deleted ones" if anew else f"indexing {counted(missing, 'new row')}"
    ):
        queries = _queries(config, column, work)
        truth = find_truth(work, column, old.metric, queries)
        record = update_index(work, column, old, truth, _goal(config, old.target_recall))
    return _result(config, column, "updated", record, truth=truth)


def _check_not_hidden(config: IndexConfig, column: str, dataset: Any) -> None:
    """Raises `UserError` where a filter index is on the vectors: no search through an index could be measured."""
    if (name := hides_vectors(dataset, column)) is not None:
        raise UserError(
            f"table {config.table}: {column} has the filter index {name}, which Lance takes for its vector index, so "
            f"that searches would end with an error. Drop it: {lancedb_line(dataset.uri, f'drop_index({name!r})')}"
        )


def _queries(config: IndexConfig, column: str, work: IndexWork) -> Queries:
    queries = draw_queries(work.dataset, column, config.queries, config.seed)
    if not len(queries):
        raise UserError(f"table {config.table}: {column} holds no vectors to index")
    return queries


def _goal(config: IndexConfig, target: float) -> SearchGoal:
    return SearchGoal(target=config.target_recall or target, nprobes=config.nprobes, refine=config.refine)


def _result(
    config: IndexConfig,
    column: str,
    status: Literal["built", "updated", "up_to_date", "not_needed", "filters_alone"],
    record: IndexRecord | None,
    tried: Sequence[Tried] = (),
    truth: Truth | None = None,
) -> IndexResult:
    return IndexResult(
        table=config.table,
        column=column,
        status=status,
        index=record,
        tried=[asdict(each) for each in tried],
        unindexed_rows=0,
        without_vector=truth.exact.without_vector if truth else None,
        without_direction=truth.exact.without_direction if truth else None,
        scalar={},
        renewed={},
    )


def as_text(result: IndexResult) -> str:
    lines = [_headline(result)]
    if (index := result.index) is not None:
        numbers = ", ".join(f"{name} {value:,}" for name, value in index.parameters.items())
        lines += [
            f"index      {index.name}: {index.type}, {index.metric}, {numbers}",
            f"index recall@{index.k}  {index.recall:.4f} (target {index.target_recall:g}) at nprobes {index.nprobes}, "
            f"refine {index.refine or 'off'}, over {counted(index.queries, 'row')} of the table as queries, each "
            "without itself",
            f"one query  {index.p50_ms:.1f} ms (p50), {index.p99_ms:.1f} ms (p99)",
            f"size       {_mib(index.size_bytes)}, {counted(index.rows, 'row')}, segments: {index.segments}, built in "
            f"{index.seconds:,.1f} s",
        ]
    if result.without_vector or result.without_direction:
        lines.append(
            f"not in it  {result.without_vector:,} rows without a vector, {result.without_direction:,} without a "
            "direction (zeros, or a number that is not finite): no search finds them"
        )
    for each in result.tried[:-1]:
        lines.append(
            f"too little {each['type']}: index recall@10 {each['recall']:.4f}, {each['size_bytes'] / 2**20:,.1f} MiB"
        )
    if result.unindexed_rows and index is not None:
        lines.append(
            f"unindexed  {counted(result.unindexed_rows, 'row')}, compared one by one; `pixlake index --update` adds "
            "them"
        )
    lines.append(f"filters    {', '.join(f'{column} ({kind})' for column, kind in result.scalar.items())}")
    lines += [f"made anew  {column}: {why}" for column, why in result.renewed.items()]
    return "\n".join(lines)


def _headline(result: IndexResult) -> str:
    said = {
        "built": "built and published",
        "updated": "updated",
        "up_to_date": "holds every row; nothing to do",
        "filters_alone": "has no index of Pixlake's; the filters' are up to date",
        "not_needed": "none needed, so few vectors are quickly compared one by one; --type TYPE builds one anyway",
    }
    return f"{result.table}, {result.column}: {said[result.status]}"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
