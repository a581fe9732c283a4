"""The one committer: opens both tables under one term, publishes waves of receipts, and keeps the ledger.

A write is a two-phase commit, so that each row lands once, whatever Ray repeats and whichever process dies:

1. The driver claims both tables: `Committer.open` takes the next term (a fencing token), and whoever holds an earlier
   one can publish no more.
2. Workers write uncommitted fragments, which no reader sees, and give a receipt for them: the fragments and the
   positions of their rows (`Sink.write`, `Receipt`).
3. The driver gathers receipts into a wave and drops fragments with positions that the ledger has already (`Wave`).
4. The driver publishes the wave under its term, failures first, then vectors, each table in one commit (`commit`).
5. What is in no receipt was never there: a killed worker leaves files that no table lists, and a killed driver leaves
   receipts that nobody commits. The next run reads the ledger from the tables and does the rest again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import DELETED_AT, ID
from operators.base.failpoints import failpoint
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.carry.carry import Carry, carry_rows
from pipelines.commits.receipts import Receipt
from pipelines.commits.sink import FAILED_VERSION, FAILURES_SCHEMA, Sink
from pipelines.commits.superseded import Superseded
from pipelines.commits.waves import Accepted, Wave
from pipelines.ledger.ledger import Ledger, read_positions, rows_by_shard
from pipelines.scan.plain import plain_scan
from pipelines.scan.sql import sql_text
from pipelines.space.check import check_same_spaces
from pipelines.table.conditional_put import require_conditional_put
from pipelines.table.errors import RefusedError
from pipelines.table.fenced_operations import addresses, addresses_of, places_of
from pipelines.table.fenced_table import FencedTable
from pipelines.table.landing import fit_schema
from pipelines.table.names import TableNames
from pipelines.table.open import check_format
from pipelines.table.positions import PositionSet, table_keys
from pipelines.table.table import Table, open_dataset
from pipelines.table.tasks import RunTasks

FindRows = Callable[[lance.LanceDataset], Mapping[int, np.ndarray]]
"""From a version of a table to rows of it: fragment id -> row offsets."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """The outcome of one wave, in rows of the manifest: an image with many regions is one."""

    vectors: int
    failures: int
    skipped: int
    """Among them images whose vectors are there by their bytes."""
    repeated: int
    """Rows that were committed before: Ray ran their task twice. They need nothing more."""
    rejected: int
    """Rows in fragments of which a part was committed before. They were not published; a later pass must redo them."""


class Committer:
    """The holder of the latest term (the fencing token) on both tables. One to a run, on the driver, in one thread."""

    def __init__(self, table: Table, vectors: FencedTable, failures: FencedTable, created: bool) -> None:
        self.table = table
        self.created = created
        """Whether this run made the vector table."""
        self.ledger = Ledger(0, 0)
        self._vectors = vectors
        self._failures = failures
        self._unsettled = False

    @classmethod
    def open(
        cls,
        names: TableNames,
        vectors_schema: pa.Schema,
        failures_schema: pa.Schema = FAILURES_SCHEMA,
        *,
        run_id: str,
        storage: StorageOptions = NO_OPTIONS,
    ) -> "Committer":
        """Open both tables, making them if they are missing, and take the next term on them: earlier runs can publish
        no more.

        Raises `RefusedError` for a store without conditional writes, a table that Pixlake did not make and a schema
        that does not fit; `SpaceError` and `CanaryError` where its vectors mean something else; `ClaimLostError` if
        another run claims at the same moment; `OSError` where storage fails.
        """
        require_conditional_put(Table(names=names, storage=storage))
        present = open_dataset(names.vectors, storage)
        if present is not None:
            check_format(names.vectors, present, open_dataset(names.failures, storage), vectors_schema)
            fit_schema(names.vectors, present.schema, vectors_schema)
            check_same_spaces(present.schema, vectors_schema, names.vectors)
        # The vector table is made last: whoever sees it sees a whole pair.
        failures, _ = FencedTable.create_or_open(names.failures, failures_schema, storage)
        check_format(names.failures, failures.dataset, present, failures_schema)
        fit_schema(names.failures, failures.dataset.schema, _there(failures.dataset.schema, failures_schema))
        if failures.dataset.count_rows() and open_dataset(names.vectors, storage) is None:
            # Failures are committed only to a pair: their vector table was removed, and they would count as done.
            raise RefusedError(
                f"{names.failures}: holds failures of a table that is no longer there; delete that folder, or run "
                "again with --overwrite"
            )
        failpoint("create.between")
        vectors, created = FencedTable.create_or_open(names.vectors, vectors_schema, storage)
        check_format(names.vectors, vectors.dataset, failures.dataset, vectors_schema)
        check_same_spaces(vectors.dataset.schema, vectors_schema, names.vectors)
        number = max(vectors.term.number, failures.term.number) + 1
        vectors.claim(number, run_id)
        failpoint("claim.between")
        failures.claim(number, run_id)
        failures.add_columns([field for field in failures_schema if field.name in _LATER])
        committer = cls(Table(names=names, storage=storage), vectors, failures, created)
        committer.refit()
        return committer

    @property
    def names(self) -> TableNames:
        return self.table.names

    @property
    def term(self) -> int:
        return self._vectors.term.number

    @property
    def commits(self) -> int:
        """Versions that this run has made of both tables together."""
        return self._vectors.commits + self._failures.commits

    @property
    def versions_before(self) -> dict[str, int]:
        """The version of each table that this run took over, if nobody else has committed to it since: any other number
        tells that somebody has."""
        tables = {"vectors": self._vectors, "failures": self._failures}
        return {name: table.dataset.version - table.commits for name, table in tables.items()}

    @property
    def versions(self) -> dict[str, int]:
        """The latest version of each table that this run has made or seen."""
        return {"vectors": self._vectors.dataset.version, "failures": self._failures.dataset.version}

    @property
    def schema(self) -> pa.Schema:
        """The vector table's own schema, with the metadata of its vector field."""
        return self._vectors.dataset.schema

    @property
    def metadata(self) -> dict[str, str]:
        """The vector table's metadata, where manifests are registered."""
        return self._vectors.metadata

    @property
    def failures_metadata(self) -> dict[str, str]:
        """The failures table's, where they are registered too."""
        return self._failures.metadata

    @property
    def written(self) -> tuple[pa.Schema, pa.Schema]:
        """The schemas, of vectors and of failures, in which rows can be committed: a sink writes these."""
        return self._vectors.written, self._failures.written

    def refit(self) -> bool:
        """Take the columns as they are now; for use after a `SchemaChangedError`. True where that changes anything, so
        that what was not published can be written again by a sink of the schemas `written`.

        Raises `RefusedError`, with the cure, where rows of this run do not fit the table any more.
        """
        return any([self._vectors.refit(), self._failures.refit()])

    def set_metadata(self, updates: Mapping[str, str]) -> None:
        """Set keys of the vector table's metadata, under this run's term. Raises `FencedError`."""
        self._vectors.set_metadata(updates)

    def set_records(self, prefix: str, records: Mapping[str, str]) -> None:
        """Make `records` the only keys with the prefix in the metadata of both tables. The failures table goes first: a
        kill between the two leaves the vector table with the older ones. Raises `FencedError`."""
        for table in (self._failures, self._vectors):
            gone = {key: None for key in table.metadata if key.startswith(prefix) and key not in records}
            new = {key: value for key, value in records.items() if table.metadata.get(key) != value}
            if gone or new:
                table.set_metadata({**gone, **new})
                failpoint("register.between")

    def last_shard(self) -> int:
        """The highest shard number of a row in either table; -1 where there are none."""
        return max(max(rows_by_shard(dataset), default=-1) for dataset in self.datasets)

    @property
    def notices(self) -> list[str]:
        """Sentences for the user on what this run's commits did to the tables."""
        return [
            f"{table.uri}: had no rows left, and its first new rows have dropped its indexes "
            f"({', '.join(table.dropped_indexes)}), as Lance does on a table with stable row ids; build them again"
            for table in (self._vectors, self._failures)
            if table.dropped_indexes
        ]

    @property
    def datasets(self) -> "tuple[lance.LanceDataset, lance.LanceDataset]":
        """The vector table and the failures table as last seen or made."""
        return self._vectors.dataset, self._failures.dataset

    def load_ledger(self, first_shard: int, num_shards: int) -> Ledger:
        """Read what is done of one manifest. Rows that a cut-off `move` left in both tables are deleted from the
        failures table.

        Afterwards only receipts of these shards can be committed. Raises `CorruptTableError` for repeated positions.
        """
        self._vectors.reload()
        self._failures.reload()
        self.ledger = Ledger(first_shard, num_shards)
        self._read_ledger()
        return self.ledger

    def _read_ledger(self) -> None:
        ledger = self.ledger
        ledger.read(*self.datasets)
        moved = ledger.in_both()
        if len(moved):
            self._failures.replace(moved, [])
            ledger.failures.remove(moved)

    @contextmanager
    def _publishing(self) -> Iterator[None]:
        """Marks what has landed as unknown after an error or a signal in here: the tables are then read again before
        the next wave."""
        if self._unsettled:
            self._vectors.settle()
            self._failures.settle()
            self._read_ledger()
        self._unsettled = True
        yield
        self._unsettled = False

    def open_failures(self, error_class: str | None = None) -> PositionSet:
        """The positions of the ledger's shards in the failures table, of one class or of all."""
        ledger = self.ledger
        where = None if error_class is None else f"`error_class` = {sql_text(error_class)}"
        return read_positions(self._failures.dataset, ledger.first_shard, ledger.num_shards, where)

    def read_ids(self, where: str) -> Iterator[pa.Array]:
        """The ids in the vector table for which the SQL expression holds, streamed. The regions of an image mostly give
        their id once."""
        for batch in plain_scan(self._vectors.dataset, [ID.name], where):
            yield pc.unique(batch[ID.name])

    def commit(self, receipts: Sequence[Receipt]) -> Published:
        """Publish one wave: failures first, then vectors, each table in one commit.

        Raises `FencedError` if a later run has taken over, `CommitFailedError` if storage stays away.
        """
        with self._publishing():
            published = self._commit(receipts)
        failpoint("commit.after")
        return published

    def _commit(self, receipts: Sequence[Receipt]) -> Published:
        wave, done = Wave(self.ledger), self.ledger.committed
        failures = wave.take([(r.failure_fragments, r.failure_keys) for r in receipts], done, lambda keys: ~done(keys))
        vectors = wave.take([(r.vector_fragments, r.vector_keys) for r in receipts], done, lambda keys: ~done(keys))
        if len(failures.keys):
            failpoint("commit.failures")
            self._failures.append(failures.fragments, failures.keys)
            self.ledger.failures.add(failures.keys)
            failpoint("commit.between")
        if len(vectors.keys):
            failpoint("commit.vectors")
            if self.ledger.incomplete.contains(vectors.keys).any():
                # What another tool has left of these images goes in the same commit.
                self._vectors.replace(vectors.keys, vectors.fragments)
                self.ledger.incomplete.remove(vectors.keys)
            else:
                self._vectors.append(vectors.fragments, vectors.keys)
            self.ledger.vectors.add(vectors.keys)
        return self._published(wave, vectors, failures, receipts)

    def move(self, receipts: Sequence[Receipt]) -> Published:
        """Publish one wave of failures that were tried again: vectors first, then the failures table is set right.

        A row that now has a vector leaves the failures table, one that failed again has its old row replaced. Raises
        as `commit` does. Between the two commits a row is in both tables; `load_ledger` cures a cut-off there.
        """
        with self._publishing():
            return self._move(receipts)

    def _move(self, receipts: Sequence[Receipt]) -> Published:
        wave = Wave(self.ledger)
        moved, open_failure = self.ledger.vectors.contains, self._is_open_failure
        vectors = wave.take([(r.vector_fragments, r.vector_keys) for r in receipts], moved, open_failure)
        failures = wave.take([(r.failure_fragments, r.failure_keys) for r in receipts], moved, open_failure)
        if len(vectors.keys):
            self._vectors.append(vectors.fragments, vectors.keys)
            self.ledger.vectors.add(vectors.keys)
        keys = np.concatenate([vectors.keys, failures.keys])
        if len(keys):
            failpoint("move.between")
            self._failures.replace(keys, failures.fragments)
            self.ledger.failures.remove(vectors.keys)
        return self._published(wave, vectors, failures, receipts)

    def supersede(self, receipts: Sequence[Receipt], before: Superseded) -> Published:
        """Publish one wave of images of which `before` says what rows they have: a reader sees the old rows of an image
        or the new ones, never both, and never none.

        New failures come first, each in place of the image's old one. Then the new vectors, and in the same commit the
        old ones go: those of images that have new ones, and of images that cannot be embedded as they are now
        (`LASTING`). An image that could not be reached keeps its old vectors beside the failure. Last, failures of
        images that have new vectors go. After a cut-off an image has a failure beside the vectors that it had before
        or has now; the next refresh finds it so. Raises as `commit` does.
        """
        with self._publishing():
            return self._supersede(receipts, before)

    def _supersede(self, receipts: Sequence[Receipt], before: Superseded) -> Published:
        wave, done = Wave(self.ledger), self.ledger.committed
        failures = wave.take([(r.failure_fragments, r.failure_keys) for r in receipts], done, lambda keys: ~done(keys))
        vectors = wave.take([(r.vector_fragments, r.vector_keys) for r in receipts], done, lambda keys: ~done(keys))
        if len(failures.keys):
            self._failures.append(failures.fragments, failures.keys, before.failures.of(failures.keys))
            self.ledger.failures.add(failures.keys)
            failpoint("refresh.failures")
        lasting = np.concatenate([receipt.lasting_keys for receipt in receipts])
        given_up = lasting[np.isin(lasting, failures.keys)]
        gone = before.vectors.of(np.concatenate([vectors.keys, given_up]))
        if len(vectors.keys):
            self._vectors.append(vectors.fragments, vectors.keys, gone)
            self.ledger.vectors.add(vectors.keys)
        elif len(gone):
            self._vectors.delete(partial(addresses, keys=gone))
        failpoint("refresh.vectors")
        mended = before.failures.of(vectors.keys)
        if len(mended):
            self._failures.delete(partial(addresses, keys=mended))
        return self._published(wave, vectors, failures, receipts)

    def carry(self, values: pa.Table, execute: RunTasks) -> Carry:
        """Write rows of the vector table again with the `values` of their record, in one commit; see `carry_rows`.
        Raises as `commit` does."""
        with self._publishing():
            done = carry_rows(self._vectors, self.table, values, execute)
            first, last = self.ledger.first_shard, self.ledger.first_shard + self.ledger.num_shards
            shards = done.carried >> 32
            self.ledger.vectors.add(done.carried[(shards >= first) & (shards < last)])
        return done

    def add_deleted_at(self) -> None:
        """Give the vector table the column `deleted_at`, null in every row, unless it has it. Raises `RefusedError`
        where it has a column of that name with another meaning."""
        self._vectors.add_columns([DELETED_AT])
        there = self.schema.field(DELETED_AT.name)
        if there.type != DELETED_AT.type or not there.nullable:
            raise RefusedError(
                f"{self.names.vectors}: has a column {DELETED_AT.name} of {there.type} already, so images cannot be "
                "marked as deleted; rename it, leave them as they are (--deleted keep), or delete them (--deleted drop)"
            )

    def delete_positions(self, vectors: np.ndarray, failures: np.ndarray) -> tuple[int, int]:
        """Delete the rows at these positions of each table; gives (vectors, failures) deleted. Raises as `commit`
        does."""
        found = [partial(addresses, keys=keys) if len(keys) else None for keys in (vectors, failures)]
        tables = zip((self._vectors, self._failures), found, strict=True)
        in_vectors, in_failures = (table.delete(find) if find is not None else 0 for table, find in tables)
        return in_vectors, in_failures

    def delete_found(self, vectors: FindRows, failures: FindRows) -> tuple[int, int]:
        """Delete the rows that these find in each table (fragment id -> row offsets); gives (vectors, failures)
        deleted. Raises as `commit` does."""
        return self._vectors.delete(vectors), self._failures.delete(failures)

    def give_up(self, failed: pa.Table) -> None:
        """Make failures of rows that have vectors, so that a run with `--retry-failed` embeds them again: the new
        failures come first, then the vectors go. After a cut-off between the two they are in both tables, and the next
        `load_ledger` takes the failures back. Raises as `commit` does."""
        if not failed.num_rows:
            return
        vectors_schema, failures_schema = self.written
        sink = Sink(
            names=self.names,
            vectors_schema=vectors_schema,
            failures_schema=failures_schema,
            storage=self.table.storage,
        )
        keys = np.unique(table_keys(failed))
        self._failures.append(sink.write_failures(failed), keys)
        self._vectors.delete(partial(addresses, keys=keys))

    def delete_ids(self, ids: pa.Array) -> tuple[int, int]:
        """Delete every row that has one of the ids, one commit a table; gives (vectors, failures) deleted.

        Raises `FencedError` if a later run has taken over, `CommitFailedError` if storage stays away.
        """
        find = partial(addresses_of, ID.name, ids)
        return self._vectors.delete(find), self._failures.delete(find)

    def ids_there(self, ids: pa.Array) -> pa.Array:
        """The ids that a row of either table has."""
        return pc.unique(self.places(ids)[ID.name])

    def places(self, ids: pa.Array) -> pa.Table:
        """Columns `id`, `shard`, `row` of every row of either table that has one of the ids."""
        return pa.concat_tables([places_of(table.dataset, ids) for table in (self._vectors, self._failures)])

    def _is_open_failure(self, keys: np.ndarray) -> np.ndarray:
        held: np.ndarray = self.ledger.failures.contains(keys) & ~self.ledger.vectors.contains(keys)
        return held

    def _published(
        self, wave: "Wave", vectors: "Accepted", failures: "Accepted", receipts: Sequence[Receipt]
    ) -> Published:
        before = self.ledger.skipped.count
        for receipt in receipts:
            self.ledger.skipped.add(receipt.skipped_keys)
            self.ledger.skipped.add(receipt.same_keys)
            self.ledger.deleted.add(receipt.kept_out_keys)
        return Published(
            vectors=len(vectors.keys),
            failures=len(failures.keys),
            skipped=self.ledger.skipped.count - before,
            repeated=wave.repeated,
            rejected=wave.rejected,
        )


_LATER = {FAILED_VERSION.name}
"""Columns of the failures table that tables of earlier releases lack; they are added once the table is claimed."""


def _there(schema: pa.Schema, ours: pa.Schema) -> pa.Schema:
    """Our columns without those that are still to be added."""
    return pa.schema([field for field in ours if field.name in schema.names or field.name not in _LATER])
