"""`pixlake upkeep`: small fragments compacted, indexes updated, old versions removed, the state tagged."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field, field_validator

from jobs import index
from jobs.config.read import ClusterReadConfig
from jobs.session.progress import Progress
from operators.base.counted import counted
from operators.base.errors import printable
from pipelines.filter_index.build import LOOKED_UP, filters_of_ours
from pipelines.filter_index.former import former_indexes
from pipelines.filter_index.trust import doubts
from pipelines.index.build import MOST_SEGMENTS
from pipelines.index.deleted_entries import may_give_deleted
from pipelines.index.records import covered_fragments, fragment_rows, read_index_record, unindexed_rows
from pipelines.space.choose import columns_there
from pipelines.table.errors import TableError
from pipelines.table.table import Table
from pipelines.versions.compact import TARGET_ROWS, Compacted, compact
from pipelines.versions.other_indexes import bring_up_others
from pipelines.versions.prune import Keep, prune
from pipelines.versions.tags import check_name, tag_state

LARGE_TO_SMALL = 20
"""Large fragments for each segment that is left to an index until it is built anew. A query opens every segment: with 4
of them where 20 fragments were, thirty nights made it 1.6 times as long."""


class UpkeepConfig(ClusterReadConfig):
    """What is done for a table. The file of the embed job serves, its `cluster` included."""

    keep_versions: str | None = "14d"
    """Versions that stay: a number, or an age such as `14d` or `2w`; tagged ones stay as well, and those of the last
    day. None removes none."""
    drop_tags: bool = False
    """Also remove tags named by a day that are older than what is kept."""
    tag: str | None = None
    """Name of the state. Default: today (UTC), as in `2026-11-28`; a second state of one day is `2026-11-28.2`."""
    set_tag: bool = True
    """Whether the state is named at all."""
    rows_per_fragment: int = Field(default=TARGET_ROWS, ge=1)
    """Rows up to which fragments are put together."""

    @field_validator("keep_versions", mode="before")
    @classmethod
    def _keep_is_understood(cls, value: Any) -> str | None:
        if value is not None:
            Keep.parse(value)
        return None if value is None else str(value)

    @field_validator("tag")
    @classmethod
    def _tag_is_possible(cls, value: str | None) -> str | None:
        if value is not None:
            check_name(value)
        return value


class CompactedTable(BaseModel):
    """One table's fragments, before and after."""

    fragments_before: int
    fragments: int
    rows: int
    """Rows that were written anew."""
    unfilled: int
    """Fragments that were left because a vector column is not filled there yet."""
    gave_way: bool
    """Whether some were left as they are because another process was writing to them."""


class UpkeepReport(BaseModel):
    """What was due, and done."""

    table: str
    version: int
    """Version of the vector table at the end."""
    vectors: CompactedTable
    failures: CompactedTable
    indexes: dict[str, str]
    """Vector column -> what was done to its index: `updated`, `up_to_date`, `filters_alone`."""
    filters_renewed: dict[str, str]
    """Column -> why its filter index was made anew."""
    other_indexes: list[str]
    """Indexes that other tools have made, full-text ones too, to which rows were added."""
    unindexed_rows: dict[str, int]
    """Vector column -> rows that its index does not hold."""
    problems: list[str]
    """Indexes that no longer find enough, that answer wrongly, or that others were changing at the same time: they were
    not published, and what was in force still is. All else is done."""
    pruned_versions: int
    """Of both tables."""
    pruned_bytes: int
    tag: str | None


def run(config: UpkeepConfig) -> UpkeepReport:
    """Do what is due; where nothing is, nothing is committed. The same command again goes on after a kill.

    Runs that are on are not disturbed. Raises `UserError` where there is no such table, and for a tag that another
    state has; `TableError` and `OSError` where storage fails.
    """
    table = config.stored
    # First of all: both are there.
    table.latest()
    table.latest_failures()
    # Fragments are put together where one segment holds them all: so indexes first, and once more what then moved.
    indexes = _Indexes()
    indexes.bring_up(config)
    others, refused = bring_up_others(table)
    with Progress() as progress:
        progress.phase(f"compacting {config.table}")
        vectors, failures = (
            compact(
                uri,
                table.storage,
                target_rows=config.rows_per_fragment,
                on_rows=lambda rows: progress.phase(f"compacting {config.table}: {counted(rows, 'row')}"),
            )
            for uri in (table.uri, table.names.failures)
        )
    indexes.bring_up(config)
    with Progress() as progress:
        progress.phase("removing old versions")
        keep = Keep.parse(config.keep_versions) if config.keep_versions else None
        pruned = prune(table, keep, drop_tags=config.drop_tags) if keep else ()
        tag = tag_state(table, config.tag).name if config.set_tag else None
    dataset = table.latest()
    return UpkeepReport(
        table=config.table,
        version=dataset.version,
        vectors=_compacted(vectors),
        failures=_compacted(failures),
        indexes=indexes.done,
        filters_renewed=indexes.renewed,
        other_indexes=others,
        unindexed_rows={column: unindexed_rows(dataset, column) for column in _indexed(config, dataset)},
        problems=[*indexes.problems.values(), *refused],
        pruned_versions=sum(each.versions for each in pruned),
        pruned_bytes=sum(each.bytes for each in pruned),
        tag=tag,
    )


def _compacted(done: Compacted) -> CompactedTable:
    return CompactedTable(**vars(done))


class _Indexes:
    """What was done to the indexes that `pixlake index` has built."""

    def __init__(self) -> None:
        self.done: dict[str, str] = {}
        self.renewed: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        """Column -> why its index was not published the last time that this was tried."""

    def bring_up(self, config: UpkeepConfig) -> None:
        """Update those that lack rows, and ask those again that a compaction has moved; what is refused is noted, and
        does not keep the rest from being done."""
        for column in _due(config):
            try:
                result = index.run(index.IndexConfig.model_validate(_of_index(config, column)))
            except TableError as error:
                self.problems[column] = str(error)
            else:
                self.problems.pop(column, None)
                self.done.setdefault(column, result.status)
                self.renewed |= result.renewed


def _of_index(config: UpkeepConfig, column: str) -> dict[str, Any]:
    dataset = config.stored.latest()
    values = {name: getattr(config, name) for name in ("table", "storage", "table_storage", "cluster")}
    if (record := read_index_record(dataset, column)) is not None:
        # Measured as it was when it was built.
        values["queries"] = record.queries
    # Each segment keeps a fragment of its own beside the large ones.
    few = dataset.count_rows() // (LARGE_TO_SMALL * config.rows_per_fragment)
    return {**values, "column": column, "update": True, "most_segments": min(MOST_SEGMENTS, max(1, few))}


def _due(config: UpkeepConfig) -> Iterator[str]:
    """Vector columns whose indexes are to be updated. Each brings up the filter indexes too; where these alone are due,
    it is any one column."""
    dataset = config.stored.latest()
    columns = _indexed(config, dataset)
    due = [name for name in columns if unindexed_rows(dataset, name) or may_give_deleted(dataset, name)]
    if not due and _filters_are_due(config.stored, dataset):
        due = (columns or list(columns_there(config.table, dataset.schema)))[:1]
    yield from due


def _indexed(config: UpkeepConfig, dataset: Any) -> list[str]:
    """Vector columns with an index of Pixlake's."""
    there = columns_there(config.table, dataset.schema)
    return [name for name in there if read_index_record(dataset, name) is not None]


def _filters_are_due(table: Table, dataset: Any) -> bool:
    ours = filters_of_ours(dataset)
    everyone = fragment_rows(dataset).keys()
    doubted = doubts(dataset)
    return bool(former_indexes(dataset, LOOKED_UP, table.storage)) or any(
        each.field_names[0] in doubted or everyone - covered_fragments([each]) for each in ours
    )


def as_text(report: UpkeepReport) -> str:
    lines = [f"{report.table}, version {report.version}" + (f", tagged {report.tag}" if report.tag else "")]
    for name, done in (("rows", report.vectors), ("failures", report.failures)):
        before = f"{done.fragments_before:,} fragment{'' if done.fragments_before == 1 else 's'}"
        change = f"{before} written as {done.fragments:,}" if done.rows else f"{before}, nothing to compact"
        way = "; some were left, since a run was writing to them" if done.gave_way else ""
        unfilled = f"; {done.unfilled:,} wait for a vector column to be filled" if done.unfilled else ""
        lines.append(f"{name:<10} {change}{unfilled}{way}")
    for column, status in report.indexes.items():
        lines.append(f"index      {column}: {status.replace('_', ' ')}")
    lines += [f"made anew  {column}: {why}" for column, why in report.filters_renewed.items()]
    lines += [f"index      {name}, of another tool: rows were added to it" for name in report.other_indexes]
    lines += [f"unindexed  {column}: {counted(rows, 'row')}" for column, rows in report.unindexed_rows.items() if rows]
    mib = report.pruned_bytes / 2**20
    lines.append(f"versions   {report.pruned_versions:,} old ones removed, {mib:,.1f} MiB")
    lines += [f"problem    {problem}" for problem in report.problems]
    return "\n".join(map(printable, lines))
