"""One Lance table that only the holder of the latest term (a fencing token) can change."""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance import LanceOperation
from lance.dataset import Transaction
from lance.fragment import FragmentMetadata

from operators.base.failpoints import failpoint
from operators.storage.stores import StorageOptions, lance_options
from pipelines.table.errors import ClaimLostError, FencedError, TableGoneError
from pipelines.table.fenced_operations import (
    addresses,
    fenced_update,
    first_fragments,
    holds,
    lists_file,
    metadata_update,
    unchanged,
)
from pipelines.table.landing import check_landing, check_meaning, fit_schema, landing_ids
from pipelines.table.publish import is_left_alone, until_landed
from pipelines.table.table import open_dataset

FILE_FORMAT = "2.2"
"""Lance's data storage version: the newest stable one; both pylance and lancedb read it."""
FORMAT, FORMAT_KEY = "1", "pixlake.format"
"""Table metadata of every table that Pixlake made, from its first claim on. Tables made before 2026-11-28 have it in
the Arrow schema's metadata, which breaks LanceDB's data API for PyTorch; a claim moves it."""
TERM_KEY = "pixlake.term"


@dataclass(frozen=True, kw_only=True)
class Term:
    """Who may change the table: a fencing token. `claim` is unique, so that no old holder is the holder of a table
    dropped and made again."""

    number: int
    run_id: str
    claim: str
    claimed_at: str

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> "Term":
        """The term of a table; number 0 where nobody has claimed it yet."""
        if TERM_KEY not in metadata:
            return cls(number=0, run_id="", claim="", claimed_at="")
        return cls(**json.loads(metadata[TERM_KEY]))


class _RowsChangedError(Exception):
    """Rows that were read are not what they were."""


def table_format(dataset: "lance.LanceDataset") -> str | None:
    """The format that Pixlake wrote the table in; None where it did not, or where its record is gone."""
    old: bytes | None = (dataset.schema.metadata or {}).get(FORMAT_KEY.encode())
    found: str | None = dataset.metadata.get(FORMAT_KEY)
    return found or (old.decode() if old else None)


class FencedTable:
    """A table and the term held on it. Not thread-safe: one driver, one thread."""

    def __init__(self, uri: str, dataset: "lance.LanceDataset", schema: pa.Schema, storage: StorageOptions) -> None:
        self.uri = uri
        self.dataset = dataset
        self.written = schema
        """Schema in which fragments are written; one is committed only to a version that has these very columns."""
        self._fitted: tuple[pa.Schema, dict[str, set[int]]] | None = None
        self.commits = 0
        self.dropped_indexes: tuple[str, ...] = ()
        """Names of indexes that a commit of this holder had to drop."""
        self._storage = storage
        self._term = Term(number=0, run_id="", claim="", claimed_at="")

    @classmethod
    def create_or_open(cls, uri: str, schema: pa.Schema, storage: StorageOptions) -> "tuple[FencedTable, bool]":
        """The table, and whether this call made it: of any number of racing creators, exactly one gets true."""
        dataset = open_dataset(uri, storage)
        if dataset is not None:
            return cls(uri, dataset, schema, storage), False
        try:
            made = _commit(
                uri,
                Transaction(0, LanceOperation.Overwrite(schema.remove_metadata(), [])),
                lance_options(uri, storage),
            )
        except OSError:
            dataset = open_dataset(uri, storage)
            if dataset is None:
                raise
            return cls(uri, dataset, schema, storage), False
        return cls(uri, made, schema, storage), True

    @property
    def metadata(self) -> dict[str, str]:
        """Table metadata of the version that was last seen or made."""
        return dict(self.dataset.metadata)

    @property
    def term(self) -> Term:
        return Term.read(self.metadata)

    def refit(self) -> bool:
        """Go to the latest version and write its columns from now on. True where they are others than before.

        Raises `RefusedError` as `fit_schema` does, where rows as `written` do not fit them.
        """
        self.reload()
        schema = fit_schema(self.uri, self.dataset.schema, self.written).schema
        check_meaning(self.uri, schema, self.written)
        before, self._fitted = self._fitted, (schema, landing_ids(self.dataset, schema))
        self.written = schema
        return before != self._fitted

    def claim(self, number: int, run_id: str) -> None:
        """Take the table over; earlier holders can publish no more. Raises `ClaimLostError` unless `number` is the
        highest."""
        mine = Term(
            number=number,
            run_id=run_id,
            claim=uuid.uuid4().hex,
            claimed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        value = json.dumps(asdict(mine))

        def check() -> None:
            if self.term.number >= number and self.term != mine:
                raise ClaimLostError(
                    f"{self.uri}: run {self.term.run_id} claimed the table at {self.term.claimed_at} (term "
                    f"{self.term.number}) while this run was starting; let it finish, or start this one again to take "
                    "the table over"
                )

        self._publish(
            lambda dataset: metadata_update({TERM_KEY: value, FORMAT_KEY: FORMAT}, not_in_schema=FORMAT_KEY),
            check,
            lambda _: self.term == mine,
        )
        self._term = mine
        self._raise_barrier()

    def settle(self) -> None:
        """After a commit with an unknown outcome: read the table again. What has not landed by now never will."""
        self.reload()
        self._check_term()
        self._raise_barrier()

    def _raise_barrier(self) -> None:
        """Make every commit under way fail from here on. Each is built on an older version and lists its lowest
        fragment; this commit lists that fragment too. If the fragment has been replaced meanwhile, they fail on that.

        Without fragments a commit under way is a `Merge`, as this one is, or a strict `Overwrite`, which fails on any
        newer version.
        """

        self._publish(self._barrier, self._check_term)

    def _barrier(self, dataset: "lance.LanceDataset") -> Any:
        if dataset.get_fragments():
            return fenced_update(dataset, [])
        if dataset.has_stable_row_ids:
            return metadata_update({TERM_KEY: json.dumps(asdict(self._term))})
        return first_fragments(dataset, [])

    def append(
        self, fragments: Sequence[FragmentMetadata], keys: np.ndarray, superseded: np.ndarray | None = None
    ) -> None:
        """Publish fragments that hold the positions `keys`, once, even where the answer to the commit is lost. Rows at
        the positions `superseded`, which are others, are deleted in the same commit."""

        def operation(dataset: "lance.LanceDataset") -> Any:
            if dataset.get_fragments():
                gone = None if superseded is None else addresses(dataset, superseded)
                return fenced_update(dataset, fragments, gone)
            self._note_indexes(dataset)
            return first_fragments(dataset, fragments)

        known = {f.fragment_id for f in self.dataset.get_fragments()}
        self._publish(
            operation, lambda: self._check_rows(fragments), lambda dataset: holds(dataset, known, int(keys[0]))
        )

    def replace(self, keys: np.ndarray, fragments: Sequence[FragmentMetadata]) -> None:
        """Publish fragments in place of all rows at the positions `keys`, in one commit. Doing it twice is harmless."""

        def operation(dataset: "lance.LanceDataset") -> Any:
            if dataset.get_fragments():
                return fenced_update(dataset, fragments, addresses(dataset, keys))
            self._note_indexes(dataset)
            return first_fragments(dataset, fragments)

        self._publish(operation, lambda: self._check_rows(fragments))

    def delete(self, find: Callable[["lance.LanceDataset"], Mapping[int, np.ndarray]]) -> int:
        """Delete the rows that `find` gives for a version (fragment id -> row offsets); gives how many."""
        rows = 0

        def operation(dataset: "lance.LanceDataset") -> Any:
            nonlocal rows
            found = find(dataset)
            # Nothing is left to find where an attempt has landed and its answer was lost: its rows are those deleted.
            rows = sum(len(offsets) for offsets in found.values()) or rows
            return fenced_update(dataset, [], found) if found else self._barrier(dataset)

        if find(self.dataset):
            self._publish(operation, self._check_term)
        return rows

    def exchange(
        self,
        made_from: "lance.LanceDataset",
        found: Mapping[int, np.ndarray],
        deleted: Mapping[int, np.ndarray],
        fragments: Sequence[FragmentMetadata],
    ) -> bool:
        """Publish fragments and delete rows (fragment id -> row offsets) in one commit, if the rows `found` of the
        version `made_from`, of which the fragments were made, are in their places and the schema is what it was. False,
        and nothing is published, where another tool has changed them."""
        paths = {file.path for fragment in fragments for file in fragment.files}

        def operation(dataset: "lance.LanceDataset") -> Any:
            if not unchanged(made_from, dataset, found):
                raise _RowsChangedError
            return fenced_update(dataset, fragments, deleted)

        try:
            self._publish(operation, self._check_term, lambda dataset: lists_file(dataset, paths))
        except _RowsChangedError:
            return False
        return True

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        """Add those of the columns that the table lacks, null in every row; nothing is written where it has them."""

        def attempt(again: bool) -> None:
            self.reload()
            self._check_term()
            missing = [field for field in fields if field.name not in self.dataset.schema.names]
            if missing:
                self.dataset.add_columns(pa.schema(missing))
                self.reload()
                self.commits += 1

        until_landed(self.uri, attempt)

    def _note_indexes(self, dataset: "lance.LanceDataset") -> None:
        """Note the indexes that a commit to a table without fragments drops."""
        if dataset.has_stable_row_ids:
            self.dropped_indexes = tuple(index.name for index in dataset.describe_indices())

    def set_metadata(self, updates: Mapping[str, str | None]) -> None:
        """Set keys of the table's metadata; None deletes one. The term is written with them, so that any other claim
        conflicts."""
        values: dict[str, str | None] = {**updates, TERM_KEY: json.dumps(asdict(self._term))}
        self._publish(
            lambda dataset: metadata_update(values),
            self._check_term,
            lambda dataset: all(dataset.metadata.get(key) == value for key, value in values.items()),
        )

    def change_columns(
        self, change: Callable[["lance.LanceDataset"], None], landed: Callable[["lance.LanceDataset"], bool]
    ) -> None:
        """Change the columns by Lance's own methods, in one commit, unless that has landed already.

        The term keeps earlier runs from publishing rows for other columns; of two changes that are built on the same
        version Lance refuses the later one.
        """

        def attempt(again: bool) -> None:
            self.reload()
            self._check_term()
            if not landed(self.dataset):
                change(self.dataset)
                self.commits += 1
            self.reload()

        until_landed(self.uri, attempt)

    def _check_rows(self, fragments: Sequence[FragmentMetadata]) -> None:
        """Check the term and the columns. After the check Lance guards the commit: an update conflicts with any change
        of the schema but the loss or the renaming of a column, and there the field ids see to it that nothing lands in
        another column."""
        self._check_term()
        if fragments:
            check_landing(self.uri, self.dataset, self.written, fragments)

    def _check_term(self) -> None:
        if TERM_KEY not in self.metadata:
            raise FencedError(
                f"{self.uri}: another tool has replaced the table's metadata, or taken the table back to before its "
                "first run, while this run was on, which can publish no more; what it has published and is there still "
                "counts: run the same command again"
            )
        if self.term != self._term:
            raise FencedError(
                f"{self.uri}: run {self.term.run_id} took the table over at {self.term.claimed_at} (term "
                f"{self.term.number}, this run had {self._term.number}); what this run published stays, the other "
                "run goes on"
            )

    def _publish(
        self,
        operation: Callable[["lance.LanceDataset"], Any],
        check: Callable[[], None],
        landed: Callable[["lance.LanceDataset"], bool] = lambda _: False,
    ) -> None:
        """Commit until it lands. Every attempt is built on a version that `check` has passed; `check` raises if the
        table has another holder. After any error, a conflict or a lost answer, `landed` tells whether the commit went
        through."""

        def attempt(again: bool) -> None:
            # The first time too: Lance lets an update pass by a column that was dropped or renamed meanwhile.
            self.reload()
            check()
            if again and landed(self.dataset):
                return
            transaction = Transaction(self.dataset.version, operation(self.dataset))
            failpoint("table.built")
            made = _commit(self.dataset, transaction, lance_options(self.uri, self._storage))
            if is_left_alone(made, self.uri, self._storage):
                raise TableGoneError(self.uri)
            self.dataset = made
            failpoint("table.landed")

        until_landed(self.uri, attempt)
        self.commits += 1

    def reload(self) -> None:
        """Go to the latest version in storage. Raises `TableGoneError`."""
        dataset = open_dataset(self.uri, self._storage)
        if dataset is None:
            raise TableGoneError(self.uri)
        self.dataset = dataset


def _commit(
    target: "str | lance.LanceDataset", transaction: Transaction, options: dict[str, str] | None
) -> "lance.LanceDataset":
    strict = isinstance(transaction.operation, LanceOperation.Overwrite)
    return lance.LanceDataset.commit(
        target,
        transaction,
        storage_options=options,
        max_retries=0 if strict else 20,
    )
