"""An embed job with everything resolved that does not need a cluster."""

from dataclasses import dataclass

from jobs.config.embed import EmbedConfig
from pipelines.balance.settle import Settled, settle
from pipelines.embedding.columns import DerivedColumn, VectorColumn
from pipelines.embedding.region_blocks import sized_for_regions
from pipelines.ledger.entries import read_entries, running_entry
from pipelines.manifests.manifest import Manifest
from pipelines.run.cluster import ClusterConfig
from pipelines.run.pipeline import Pipeline
from pipelines.space.labelling import Labelling
from pipelines.space.record import Record
from pipelines.table.errors import RefusedError
from pipelines.table.names import TableNames
from pipelines.table.open import TableInfo, open_existing
from pipelines.table.table import Table


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A job with everything resolved that does not need a cluster."""

    config: EmbedConfig
    names: TableNames
    manifest: Manifest
    columns: tuple[VectorColumn, ...]
    pipeline: Pipeline
    derived: tuple[DerivedColumn, ...]
    labellings: dict[str, Labelling]
    """Column that says which group a vector is of -> how it is made."""
    records: dict[str, Record]
    """Vector column of the table -> its space."""
    existing: TableInfo | None

    @property
    def stored(self) -> Table:
        return Table(names=self.names, storage=self.config.storage_of_table)

    @property
    def cluster(self) -> ClusterConfig:
        """The cluster's settings, with blocks of as many images as their regions allow."""
        return sized_for_regions(self.config.cluster, self.config.regions)

    def settle(self, *, with_pilot: bool | None = None, rows: int | None = None) -> Settled:
        """Where the job runs, and in blocks of how many rows; see `pipelines.balance.settle`. `rows`: those of the job,
        where they are others than are counted."""
        return settle(
            self.pipeline,
            self.columns,
            self.manifest.shards,
            cluster=self.cluster,
            regions=self.config.regions,
            rows=self.rows if rows is None else rows,
            in_flight=self.config.fetch.max_concurrency,
            with_pilot=with_pilot,
        )

    @property
    def rows(self) -> int:
        """Rows that this job is to cover."""
        limit = self.config.source.limit
        return self.manifest.num_rows if limit is None else min(limit, self.manifest.num_rows)

    @property
    def all_counted(self) -> bool:
        """Whether `rows` is final: a dry run opens the beginning of a source alone."""
        limit = self.config.source.limit
        return self.manifest.complete or (limit is not None and limit <= self.manifest.num_rows)


def writable_table(config: EmbedConfig, names: TableNames) -> TableInfo | None:
    """The table, if there is one, that this job may write to. Raises `RefusedError` before anything is written."""
    existing = open_existing(Table(names=names, storage=config.storage_of_table))
    if existing is None:
        return None
    if not existing.made_by_pixlake:
        raise RefusedError(
            f"table {config.table}: was not made by Pixlake; choose another name, or give --overwrite twice"
        )
    entries = read_entries(existing.metadata, existing.failures_metadata)
    if not entries and (existing.vectors or existing.failures):
        raise RefusedError(
            f"table {config.table}: holds {existing.vectors:,} vectors and {existing.failures:,} failures, and the "
            "record of the manifests that they come from is gone: another tool has replaced the metadata of both "
            "tables, or has taken one of them back to before its first run. With LanceDB, checkout(VERSION) and "
            "restore() bring back a version that has it; or embed into another table"
        )
    if config.abandon:
        running_entry(entries, config.abandon, config.table)
    return existing
