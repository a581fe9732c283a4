"""Columns being filled, as the driver sees it: added once, published fragment by fragment, their ledger the table."""

from collections.abc import Sequence
from dataclasses import dataclass

import lance
import pyarrow as pa
from lance import LanceOperation
from lance.dataset import Transaction

from operators.base.failpoints import failpoint
from operators.storage.stores import lance_options
from pipelines.derivation.fragment import NUM_EXAMPLES, Derived, count_again, field_ids, files_of
from pipelines.table.errors import RefusedError, TableError
from pipelines.table.publish import until_landed
from pipelines.table.table import Table, open_dataset


@dataclass(kw_only=True)
class DeriveReport:
    """What one run has done; what earlier ones had filled is not in it."""

    fragments: int = 0
    """Fragments whose column this run has published."""
    rows: int = 0
    """Rows that get a value in this run."""
    without_source: int = 0
    """Rows that stay null because their source is null."""
    not_finite: int = 0
    """Rows that stay null because their source has a number in it that is not finite."""
    impossible: int = 0
    """Rows that stay null because no value can be computed: a vector that is zero after truncation."""
    impossible_ids: tuple[str, ...] = ()
    """`id`, or `region_id`, of the first 20 rows that are `impossible`."""
    written_bytes: int = 0
    commits: int = 0
    version: int = 0
    """Version of the table at the end."""

    def add(self, derived: Derived) -> None:
        self.fragments += derived.data_file is not None
        self.count(derived, 1)
        self.impossible_ids = (self.impossible_ids + derived.impossible_ids)[:NUM_EXAMPLES]
        self.written_bytes += derived.written_bytes

    def count(self, derived: Derived, times: int) -> None:
        """Add the rows of a fragment to the counts, or with `times` -1 take them out."""
        self.rows += times * derived.rows
        self.without_source += times * derived.without_source
        self.not_finite += times * derived.not_finite
        self.impossible += times * derived.impossible


class ColumnFilling:
    """The columns that are being filled together, in the latest version of the table that was seen or made."""

    def __init__(self, table: Table, columns: pa.Schema, source: str) -> None:
        for field in columns:
            if not field.nullable:
                raise ValueError(f"{field.name}: a column that is added to rows that are there must take nulls")
        self.table, self.uri, self.columns, self.source = table, table.uri, columns, source
        self.first = columns.field(0).name
        """The column that tells whether a row has its values."""
        self.settled = 0
        """Fragments published, or seen to need nothing."""
        self._complete: set[tuple[int, tuple[str, ...]]] = set()
        """Fragments whose column shares a data file with others, checked row by row: every value that can be there
        is."""
        self._counted: dict[int, Derived] = {}
        """Fragment id -> what was counted of it when it was published."""
        self.dataset = self._open()

    def _open(self) -> "lance.LanceDataset":
        dataset = open_dataset(self.uri, self.table.storage)
        if dataset is None:
            raise RefusedError(f"{self.uri}: there is no table")
        return dataset

    def reload(self) -> None:
        """Go to the latest version. Raises `TableError` where one of the columns was dropped or made anew."""
        self.dataset = self._open()
        for name in (*self.columns.names, self.source):
            if name not in self.dataset.schema.names:
                raise TableError(f"{self.uri}: column {name} was dropped while {self.first} was being filled")
        try:
            self._check()
        except RefusedError as error:
            raise TableError(
                f"{self.uri}: column {self.first} was dropped and made anew while it was being filled, and means "
                "something else now; nothing of this run is in it"
            ) from error

    def add(self) -> None:
        """Add the columns to the schema in one commit, without data. Raises `RefusedError` where a name is taken by
        something else, or some of the columns are there without the others."""
        if self.source not in self.dataset.schema.names:
            raise RefusedError(f"{self.uri}: no column {self.source!r}; there: {', '.join(self.dataset.schema.names)}")

        def attempt(again: bool) -> None:
            if again:
                self.dataset = self._open()
            if not set(self.columns.names) & set(self.dataset.schema.names):
                self.dataset.add_columns(self.columns)
                self.dataset = self._open()
            self._check()

        until_landed(f"{self.uri}: column {self.first}", attempt)
        failpoint("derive.added")

    def _check(self) -> None:
        missing = [name for name in self.columns.names if name not in self.dataset.schema.names]
        if missing:
            others = [name for name in self.columns.names if name not in missing]
            raise RefusedError(
                f"{self.uri}: has {', '.join(others)} and lacks {', '.join(missing)}, which are made together; drop "
                "what is left of them with LanceDB, or choose another name"
            )
        for field in self.columns:
            self._check_field(field, self.dataset.schema.field(field.name))

    def _check_field(self, field: pa.Field, there: pa.Field) -> None:
        ours, theirs = field.metadata or {}, there.metadata or {}
        wrong = sorted(key.decode() for key in ours if theirs.get(key) != ours[key])
        if there.type != field.type:
            wrong.insert(0, f"type {there.type}, not {field.type}")
        if wrong:
            raise RefusedError(
                f"{self.uri}: there is a column {field.name} already, of another meaning ({', '.join(wrong)}); "
                "choose another name"
            )

    def todo(self) -> list["lance.LanceFragment"]:
        """Fragments that lack the columns, or hold them in a file with others that was not checked yet.

        A compaction of filled fragments with unfilled ones makes such a file, with nulls for the latter's rows.
        """
        ours, source = field_ids(self.dataset, *self.columns.names), field_ids(self.dataset, self.source)
        left = [f for f in self.dataset.get_fragments() if not files_of(f, ours, alone=True)]
        left = [f for f in left if (f.fragment_id, _paths(f)) not in self._complete]
        unfilled = [f for f in left if not files_of(f, source)]
        if unfilled:
            raise RefusedError(
                f"{self.uri}: column {self.source} is not filled itself in {len(unfilled)} of "
                f"{len(self.dataset.get_fragments())} fragments; finish the command that fills it first"
            )
        return left

    def publish(self, wave: Sequence[Derived], report: DeriveReport) -> None:
        """Publish the files of the wave that are still wanted in one commit; the next pass plans the others anew."""

        def attempt(again: bool) -> list[Derived]:
            if again:
                self.reload()
            wanted = self._wanted(wave)
            if replaced := [derived for derived in wanted if derived.data_file is not None]:
                self._commit(replaced)
                report.commits += 1
            return wanted

        wanted = until_landed(self.uri, attempt)
        there = {fragment.fragment_id: fragment for fragment in self.dataset.get_fragments()}
        for derived in wave:
            fragment = there.get(derived.fragment_id)
            paths = () if fragment is None else _paths(fragment)
            if derived.data_file is None and derived in wanted:
                self._complete.add((derived.fragment_id, paths))
            elif derived.data_file is None or derived.data_file.path not in paths:
                continue
            # Also what had landed by a commit whose answer was lost.
            self.settled += 1
            report.add(derived)
            if derived.data_file is not None:
                self._counted[derived.fragment_id] = derived
        self.correct(report)

    def correct(self, report: DeriveReport) -> None:
        """Correct the counts for rows that another job has moved out of a fragment since it was read: they are filled
        where they are now, and counted only there."""
        for fragment in self.dataset.get_fragments():
            counted = self._counted.get(fragment.fragment_id)
            if counted is not None and fragment.metadata.num_rows < counted.live_rows:
                self._counted[fragment.fragment_id] = count_again(fragment, self.first, self.source, counted)
                report.count(counted, -1)
                report.count(self._counted[fragment.fragment_id], 1)

    def _wanted(self, wave: Sequence[Derived]) -> list[Derived]:
        """The files still wanted: their fragment is there, its source is the one that was read, and its column is not
        filled yet."""
        ours, source = field_ids(self.dataset, *self.columns.names), field_ids(self.dataset, self.source)
        there = {f.fragment_id: f for f in self.dataset.get_fragments()}
        return [
            derived
            for derived in wave
            if (fragment := there.get(derived.fragment_id)) is not None
            and files_of(fragment, source) == [derived.source_file]
            # Of a column that was dropped and added again meanwhile the file has the old field ids.
            and (derived.data_file is None or ours.issuperset(derived.data_file.fields))
            and not files_of(fragment, ours, alone=True)
        ]

    def _commit(self, replaced: Sequence[Derived]) -> None:
        failpoint("derive.commit")
        groups = [LanceOperation.DataReplacementGroup(each.fragment_id, each.data_file) for each in replaced]
        transaction = Transaction(self.dataset.version, LanceOperation.DataReplacement(groups))
        options = lance_options(self.uri, self.table.storage)
        self.dataset = lance.LanceDataset.commit(self.dataset, transaction, storage_options=options)
        failpoint("derive.landed")


def _paths(fragment: "lance.LanceFragment") -> tuple[str, ...]:
    return tuple(file.path for file in fragment.metadata.files)
