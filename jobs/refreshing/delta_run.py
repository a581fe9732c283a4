"""The run on a delta: new rows in place of old ones, and the records of images whose bytes are known."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from jobs.embedding.prepared import Prepared
from jobs.embedding.progress import RunProgress
from jobs.embedding.run import EmbedRun
from jobs.session.interrupts import Interrupts
from operators.base.columns import SHA256
from operators.storage.stores import StorageOptions
from pipelines.balance.choose import Choice
from pipelines.commits.committer import Committer, Published
from pipelines.commits.receipts import Receipt, rows_from_bytes
from pipelines.commits.registry import Registry
from pipelines.ledger.entries import ManifestEntry
from pipelines.refresh.carries import Takeable, fetched_values
from pipelines.refresh.delta import Delta, drop_delta
from pipelines.table.positions import PositionSet, table_keys
from pipelines.table.table import Table
from pipelines.table.tasks import tasks_here


class OutdatedError(RuntimeError):
    """The table has been changed since it was compared with the source."""


def check_still_so(committer: Committer, versions: Mapping[str, int]) -> None:
    """Raises `OutdatedError` unless the versions that were compared are those that the run took over."""
    if committer.versions_before != dict(versions):
        raise OutdatedError


def delta_folder(table: Table, run_id: str) -> str:
    """Where the manifest of a refresh lies while it is on."""
    return f"{table.names.runs}/{run_id}/delta"


def abandon_unfinished(committer: Committer, source: str, storage: StorageOptions) -> None:
    """Give up what a killed refresh of the source has left: the changes were found anew. What it had committed are
    rows like others by now. `storage` is that of manifests."""
    registry = Registry(committer)
    for entry in registry.entries():
        if entry.delta and entry.source == source and entry.status == "running":
            drop_delta(delta_folder(committer.table, entry.run_id), storage)
            registry.abandon(entry.run_id)


class RefreshRun(EmbedRun):
    """One run on the manifest of a source's changes."""

    def __init__(
        self,
        prepared: Prepared,
        choice: Choice,
        run_id: str,
        interrupts: Interrupts,
        progress: RunProgress,
        *,
        delta: Delta,
        takeable: Takeable | None,
        versions: Mapping[str, int],
        stale: np.ndarray,
    ) -> None:
        """`versions` are those that were compared with the source; `stale` the positions of failures that are to go.
        Raises `OutdatedError` where the versions are no longer the latest; nothing is registered then."""
        self._versions, self._stale = versions, stale
        self._takeable = takeable
        self.same: Counter[str] = Counter()
        """Images whose bytes were known: `changed` and `asked` ones under their own id, `new` and `retried` ones of
        another's; `not_modified` are those of `asked` whose server said so."""
        self.failures_deleted = 0
        """Stale ones. They go before new ones come: a refresh that is killed again and again between its two commits
        would leave one failure more of an image each time."""
        self.gone_meanwhile = 0
        """Images whose rows another tool deleted before their record could be written."""
        self._settled = PositionSet()
        self._delta = delta
        super().__init__(prepared, choice, run_id, interrupts, progress)
        self.superseded = delta.superseded(self.entry.first_shard)

    def _register(self) -> ManifestEntry:
        check_still_so(self.committer, self._versions)
        registry, manifest = Registry(self.committer), self.prepared.manifest
        abandon_unfinished(self.committer, manifest.uri, self.config.storage)
        _, self.failures_deleted = self.committer.delete_positions(np.zeros(0, np.int64), self._stale)
        return registry.register(
            digest=manifest.digest,
            source=manifest.uri,
            rows=manifest.num_rows,
            num_shards=len(manifest.shards),
            run_id=self.run_id,
            delta=True,
        )

    def _commit(self, wave: Sequence[Receipt]) -> Published:
        published = self.committer.supersede(wave, self.superseded)
        same = [rows_from_bytes(receipt.same_rows) for receipt in wave if receipt.same_rows]
        if same:
            self._settle(pa.concat_tables(same))
        return published

    def _settle(self, rows: pa.Table) -> None:
        """Write the records of images whose vectors are there; each once, also where a task was run twice."""
        positions = table_keys(rows.combine_chunks())
        _, first = np.unique(positions, return_index=True)
        first = first[~self._settled.contains(positions[first])]
        rows, positions = rows.take(pa.array(first)), positions[first]
        self._settled.add(positions)
        fetched = rows[SHA256.name].is_valid().to_numpy()
        self.same["not_modified"] += int((~fetched).sum())
        rows, positions = rows.filter(pa.array(fetched)), positions[fetched]
        if not len(positions):
            return
        source = self.superseded.vectors.one_of(positions)
        target, own = source.copy(), source >= 0
        if not own.all():
            assert self._takeable is not None, "without digests to look for, no worker finds one"
            source[~own], target[~own] = self._takeable.take(rows.filter(pa.array(~own)), positions[~own])
        done = self.committer.carry(fetched_values(rows, source, target, self.committer.schema), tasks_here)
        mended = self.superseded.failures.of(positions)
        self.committer.delete_positions(np.zeros(0, np.int64), mended)
        self.gone_meanwhile += done.gone
        asked = int(self._delta.is_asked(self.entry.first_shard, positions[own]).sum())
        self.same += Counter({"changed": int(own.sum()) - asked, "asked": asked, "retried": len(mended)})
        self.same["new"] += int((~own).sum()) - len(mended)
