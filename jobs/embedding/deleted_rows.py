"""What a run does about rows of its manifest that were in the tables and are no longer: out, recorded, or back."""

import json
from collections.abc import Callable, Sequence

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.compute as pc
from obstore.exceptions import BaseError

from jobs.embedding.prepared import Prepared
from operators.storage.stores import object_store
from pipelines.commits.committer import Committer
from pipelines.commits.receipts import Receipt
from pipelines.ledger.entries import ManifestEntry, is_refreshed, read_entries
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.past_positions import PastPositions
from pipelines.ledger.takedowns import Takedowns, note_carried_out, record_takedowns, takedown_records
from pipelines.sources.deletions import deleted_in_place, find_deletions, ids_at, positions_left
from pipelines.table.errors import RefusedError
from pipelines.table.positions import PositionSet
from pipelines.table.table import Table

TAKEN_BACK = (
    "since this manifest was embedded, a table was taken back to an earlier version, or its record was replaced: rows "
    "that are missing are embedded again"
)


class DeletedRows:
    """The deleted rows of one manifest. Nothing is written before `settle`, which needs the term on the tables."""

    def __init__(
        self, prepared: Prepared, entry: ManifestEntry, run_id: str, before: ManifestEntry | None = None
    ) -> None:
        """`before` is the entry that the run found, where it is not `entry`."""
        self.entry = entry
        self._before = before or entry
        self.takedowns = Takedowns.read(prepared.stored)
        """Takedowns on record, which later manifests keep to as well."""
        self.unrecorded = PositionSet()
        """Rows that another tool deleted, or that went with a version when an earlier one was restored."""
        self._prepared = prepared
        self._storage = prepared.config.storage_of_table
        self._records = self.takedowns.records.num_rows
        self._taken_down = self.takedowns.positions(entry.key)
        self._past = PastPositions(
            f"{prepared.names.runs}/positions/{entry.key}", run_id, entry.revision, self._storage
        )
        self._refreshed = _is_refreshed(prepared, entry)
        self._unclear = False
        """Whether deleted rows cannot be told from those that `--skip-existing` left out."""

    def find(self, ledger: Ledger) -> None:
        """Find the rows that are gone and put them into the ledger as deleted; they stay so unless `settle` takes that
        back."""
        found = find_deletions(ledger, self._past_positions(ledger), self._taken_down)
        self.unrecorded, ledger.deleted = found.unrecorded, found.all
        if self.entry.status == "complete":
            # What else a complete manifest lacks was left out by `--skip-existing`: no later run brings it in.
            ledger.skipped = ledger.skipped.union(self._left(ledger))

    def _past_positions(self, ledger: Ledger) -> PositionSet:
        """What was once in the tables. For a manifest of an earlier version of Pixlake, nothing was noted; then it is
        worked out: for a complete one, all that it lacks (among its first rows, where a limit is raised now); for an
        unfinished one, what is marked as deleted in its files. Nothing where refreshes keep the table to the source:
        they have put rows of other manifests in place of what this one lacks."""
        if self._refreshed:
            return PositionSet()
        if self._past.known:
            return self._past.positions
        if self.entry.is_new:
            return PositionSet()
        if self._before.status != "complete":
            return deleted_in_place(self._prepared.stored, ledger)
        missing, left_out = self._left(ledger, self._before.covered), self._skipped_then()
        if self.entry.status != "complete" and left_out:
            # More of it is to be done now, and the ids tell what to leave out.
            return deleted_in_place(self._prepared.stored, ledger)
        self._unclear = 0 < left_out < missing.count
        keys = np.concatenate([np.zeros(0, np.int64), *missing.by_shard()])
        deleted = PositionSet()
        # Which ones they are is not known, and does not matter where all stay out: the number is right.
        deleted.add(keys[left_out:])
        return deleted

    def _left(self, ledger: Ledger, most: int | None = None) -> PositionSet:
        rows = self._prepared.rows if most is None else min(most, self._prepared.rows)
        return positions_left(ledger, self._prepared.manifest.shards, rows)

    def _skipped_then(self) -> int:
        store, key = object_store(f"{self._prepared.names.runs}/{self._before.run_id}/report.json", self._storage)
        try:
            return int(json.loads(bytes(obstore.get(store, key).bytes()))["skipped"])
        except (FileNotFoundError, BaseError, ValueError, KeyError):
            return 0

    def needs_run(self, ledger: Ledger) -> bool:
        """Whether a complete manifest still needs a run. Raises `RefusedError` as `to_decide` does."""
        incomplete = self._prepared.config.deleted == "restore" and ledger.incomplete.count > 0
        return self._taken_back() or self.to_decide() or incomplete or not self.takedowns.finished

    def _taken_back(self) -> bool:
        """Whether both tables are at an earlier version than that at which a run last noted something."""
        highest = self.entry.revision if self.entry.status == "complete" else self.entry.revision - 1
        return self._past.latest > highest

    def to_decide(self) -> bool:
        """Whether rows are gone and the user has said what becomes of them. Raises `RefusedError` where that cannot be
        done."""
        chosen = self._prepared.config.deleted
        if not self.unrecorded.count or chosen is None:
            return False
        if self._unclear and (chosen == "keep-out" or not self._prepared.config.skip_existing):
            raise RefusedError(
                f"table {self._prepared.config.table}: {self.unrecorded.count:,} rows of this manifest were deleted "
                f"since, and others were left out by --skip-existing in run {self.entry.run_id}, of an earlier version "
                "of Pixlake, which did not note which. Give --skip-existing and --deleted restore together, or record "
                "what is to stay out with `pixlake delete --id`"
            )
        return True

    def said(self) -> str | None:
        """The notice for a user who has not decided; None where nothing is to be decided."""
        if not self.unrecorded.count or self._prepared.config.deleted:
            return None
        return (
            f"{self.unrecorded.count:,} rows of this manifest were in the table and are in neither table now: another "
            "tool deleted them, or restored an earlier version. They stay out; --deleted restore embeds them again, "
            "--deleted keep-out records them, so that no later manifest brings them back either"
        )

    def settle(self, ledger: Ledger, committer: Committer, note: Callable[[str], None]) -> None:
        """Do as the user decided, and note what the tables hold. Raises `RefusedError` as `to_decide` does."""
        if self._taken_back() and self._prepared.config.deleted != "keep-out":
            self._past.drop()
            note(TAKEN_BACK)
        self.find(ledger)
        if not self._unclear:
            self._past.add_all(self.unrecorded.union(ledger.vectors, ledger.failures))
        undecided = self.said()
        if undecided:
            note(undecided)
        if self._prepared.config.deleted == "restore" and ledger.incomplete.count:
            note(f"{ledger.incomplete.count:,} images lack some of their regions and are embedded again")
            ledger.embed_incomplete_again()
        if not self.to_decide():
            return
        count = f"{self.unrecorded.count:,} rows of this manifest were deleted since"
        if self._prepared.config.deleted == "keep-out":
            self._record(committer)
            note(f"{count}; that is recorded now, and they stay out")
            return
        note(f"{count} and are embedded again")
        ledger.deleted = ledger.deleted.minus(self.unrecorded)
        if self._unclear:
            ledger.skipped = PositionSet()

    def _record(self, committer: Committer) -> None:
        """Record takedowns by id; by position alone where the table still has the id (the same image twice in a
        manifest)."""
        prepared, first_shard = self._prepared, self.entry.first_shard
        read = ids_at(prepared.pipeline.source, prepared.manifest.shards, first_shard, self.unrecorded)
        for ids, keys in read:
            there = committer.ids_there(ids)
            self._add(pc.if_else(pc.is_in(ids, value_set=there), None, ids), keys)

    def _add(self, ids: Sequence[str] | pa.Array, keys: np.ndarray) -> None:
        """Add records of rows that are gone already."""
        record_takedowns(self._prepared.stored, takedown_records(ids, self.entry.key, keys))
        self._records += len(keys)
        note_carried_out(self._prepared.stored, self._records)

    def published(self, wave: Sequence[Receipt], ledger: Ledger) -> None:
        """Note the rows of a wave that were committed, and record those that were kept out."""
        committed = np.concatenate([keys for r in wave for keys in (r.vector_keys, r.failure_keys)])
        kept_out = np.concatenate([receipt.kept_out_keys for receipt in wave])
        if len(kept_out):
            self._add([each for receipt in wave for each in json.loads(receipt.kept_out_ids)], kept_out)
        self._past.add(np.concatenate([committed[ledger.committed(committed)], kept_out]))


def _is_refreshed(prepared: Prepared, entry: ManifestEntry) -> bool:
    existing = prepared.existing
    if existing is None or entry.delta:
        return False
    return is_refreshed(read_entries(existing.metadata, existing.failures_metadata), entry.source)


def forget_lost(prepared: Prepared, entry: ManifestEntry | None) -> str | None:
    """Forget what was noted of a manifest that is about to be registered again because one table has lost its record,
    and perhaps rows: they were not deleted, but lost with a version, and are embedded again. The notice for the user,
    or None."""
    if entry is None or entry.status != "undone" or prepared.config.deleted == "keep-out":
        return None
    PastPositions(
        f"{prepared.names.runs}/positions/{entry.key}", "", entry.revision, prepared.config.storage_of_table
    ).drop()
    return TAKEN_BACK


def finish_takedowns(table: Table, committer: Committer) -> None:
    """Delete the rows of takedowns that `pixlake delete` recorded before it was killed."""
    takedowns = Takedowns.read(table)
    if not takedowns.finished:
        committer.delete_ids(takedowns.ids)
        note_carried_out(table, takedowns.records.num_rows)
