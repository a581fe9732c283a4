"""A swap's new column filled from the side table, fragment by fragment, while other jobs write to the table.

As a derived column is (`pipelines.derivation`): data files are written on workers, uncommitted, and published by
`DataReplacement`, which conflicts with whatever else has rewritten the fragment meanwhile. The new vector of a row is a
pure function of its image's bytes, so no term is needed: two drivers write the same. A row is filled only from a row of
the side table of the same id, region and sha256, so that one whose image has changed meanwhile keeps its old vector.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import lance
import numpy as np
import pyarrow as pa
from lance import LanceOperation
from lance.dataset import Transaction

from operators.base.columns import ID, SHA256
from operators.base.failpoints import failpoint
from operators.storage.stores import lance_options
from pipelines.derivation.fragment import field_ids, files_of
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_count, plain_scan
from pipelines.scan.sql import sql_column
from pipelines.swap.fragment import FilledFragment, FillFragment, Lacking
from pipelines.swap.hashed import content_columns
from pipelines.swap.side import NO_SHA256, SideRows, side_table
from pipelines.table.errors import CommitFailedError, TableError
from pipelines.table.publish import ATTEMPTS, until_landed
from pipelines.table.table import Table
from pipelines.table.tasks import RunTasks, tasks_here

_ROWS_AT_ONCE = 1 << 20
"""Rows without a new vector that are looked up before they are filled: 24 bytes each on the driver."""

_EXAMPLES = 20


@dataclass
class FillReport:
    """What the table holds after a fill, and what this call did."""

    rows: int = 0
    """Live rows: of images that are there."""
    filled: int = 0
    """Rows that got a new vector by this call."""
    unfilled: Counter[str] = field(default_factory=Counter)
    """Live rows without a new vector, by class."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Class -> ids of up to 20 of these rows."""
    commits: int = 0


def lacking_rows(schema: pa.Schema, column: str) -> str:
    """SQL for live rows without a vector in the column."""
    live = live_rows(schema)
    return f"{sql_column(column)} IS NULL" + ("" if live is None else f" AND {live}")


def fill_column(
    table: Table,
    column: str,
    side_column: str,
    *,
    execute: RunTasks = tasks_here,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> FillReport:
    """Fill the column of every row that has none and for which the side table has a vector; count those that stay
    without, by class.

    Reads the table's ids and digests through once for every pass; passes are repeated until one finds nothing that can
    be filled. Scratch disk: 32 bytes for each row of the side table. Raises `CommitFailedError` where other jobs
    rewrite the same fragments all the time, `TableError` where the column is gone, `OSError`.
    """
    side = side_table(table)
    report = FillReport()
    with TemporaryDirectory(prefix="pixlake-swap-") as scratch:
        rows = SideRows(side, Path(scratch))
        idle = 0
        while True:
            filling = _Filling(table, column, side, side_column, rows)
            report.rows = plain_count(filling.dataset, live_rows(filling.dataset.schema))
            report.unfilled, report.examples = Counter(), {}
            before, found = report.filled, 0
            for group in filling.groups(report):
                found += sum(len(np.unique(each.offsets)) for each in group)
                filling.publish(list(execute(filling.task, group)), report)
                on_rows(report.filled, report.rows)
            if not found:
                return report
            idle = idle + 1 if report.filled == before else 0
            if idle == ATTEMPTS:
                raise CommitFailedError(
                    f"{table.uri}: {idle} passes over {column} have published nothing; other jobs rewrite the same "
                    "fragments all the time. Run the same command again when they have ended"
                )


class _Filling:
    """One pass over the table as it was at its beginning."""

    def __init__(self, table: Table, column: str, side: Table, side_column: str, rows: SideRows) -> None:
        self.table, self.column, self.rows = table, column, rows
        self.dataset = self._open()
        self.task = FillFragment(
            table=table,
            version=self.dataset.version,
            side=side,
            side_version=rows.version,
            side_column=side_column,
            field=self.dataset.schema.field(column),
        )

    def _open(self) -> "lance.LanceDataset":
        dataset = self.table.latest()
        if self.column not in dataset.schema.names:
            raise TableError(f"{self.table.uri}: column {self.column} was dropped or renamed while it was being filled")
        return dataset

    def groups(self, report: FillReport) -> Iterator[list[Lacking]]:
        """Fragments with rows that can be filled, together up to `_ROWS_AT_ONCE` of them; counts the others."""
        group, waiting = list[Lacking](), 0
        for fragment in self.dataset.get_fragments():
            lacking = self._lacking(fragment, report)
            if len(lacking.offsets):
                group.append(lacking)
                waiting += len(lacking.offsets)
            if waiting >= _ROWS_AT_ONCE:
                yield group
                group, waiting = [], 0
        if group:
            yield group

    def _lacking(self, fragment: "lance.LanceFragment", report: FillReport) -> Lacking:
        schema = self.dataset.schema
        offsets, addresses = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        scanned = plain_scan(
            fragment, content_columns(schema), lacking_rows(schema, self.column), with_row_address=True
        )
        for batch in scanned:
            places, found = self.rows.addresses(batch)
            of_batch = (batch["_rowaddr"].to_numpy() & 0xFFFFFFFF).astype(np.int64)
            offsets.append(of_batch[places])
            addresses.append(found)
            nowhere = np.ones(batch.num_rows, bool)
            nowhere[places] = False
            self._count(batch.filter(pa.array(nowhere)), report)
        return Lacking(
            fragment_id=fragment.fragment_id, offsets=np.concatenate(offsets), addresses=np.concatenate(addresses)
        )

    def _count(self, rows: pa.RecordBatch, report: FillReport) -> None:
        why = self.rows.why_not(rows)
        why[rows[SHA256.name].is_null().to_numpy(zero_copy_only=False)] = NO_SHA256
        report.unfilled.update(why.tolist())
        for each in np.unique(why):
            told = report.examples.setdefault(each, [])
            ids = rows[ID.name].filter(pa.array(why == each))[: _EXAMPLES - len(told)]
            told += [name for name in ids.to_pylist() if name not in told]

    def publish(self, made: Sequence[FilledFragment], report: FillReport) -> None:
        """Publish what is still wanted in one commit; the next pass finds the rest again."""

        def attempt(again: bool) -> list[FilledFragment]:
            self.dataset = self._open()
            wanted = self._wanted(made)
            if wanted:
                failpoint("swap.commit")
                groups = [LanceOperation.DataReplacementGroup(each.fragment_id, each.data_file) for each in wanted]
                transaction = Transaction(self.dataset.version, LanceOperation.DataReplacement(groups))
                options = lance_options(self.table.uri, self.table.storage)
                lance.LanceDataset.commit(self.dataset, transaction, storage_options=options)
                report.commits += 1
            return wanted

        until_landed(self.table.uri, attempt)
        ours = self._files(self._open())
        report.filled += sum(
            each.rows for each in made if each.data_file and each.data_file.path in ours.get(each.fragment_id, ())
        )

    def _wanted(self, made: Sequence[FilledFragment]) -> list[FilledFragment]:
        """Files whose fragment is there and holds the column as it was read."""
        ids, there = field_ids(self.dataset, self.column), self._files(self.dataset)
        return [
            each
            for each in made
            if each.data_file is not None
            and there.get(each.fragment_id) == each.files
            and ids.issuperset(each.data_file.fields)
        ]

    def _files(self, dataset: "lance.LanceDataset") -> dict[int, tuple[str, ...]]:
        """Fragment id -> paths of the data files that hold the column."""
        ids = field_ids(dataset, self.column)
        return {each.fragment_id: tuple(files_of(each, ids)) for each in dataset.get_fragments()}
