"""Columns computed from another for all rows that are there, exactly once, while other jobs go on.

A fragment is filled by one `DataReplacement`: it adds a data file with the new columns to the fragment and touches
nothing else. Data files are written on workers, uncommitted; the driver publishes them in waves. The ledger is the
table: a fragment is done when the columns lie in a data file of their own there. Since they are a pure function of
their source, no term (fencing token) is needed: two drivers at the same columns write the same, and the later one drops
its file.

Lance's rules of conflict secure the rest (`tests/pipelines/derivation/test_conflicts.py`): a replacement fails on a
fragment that was compacted, replaced or listed in an update since the version that it is built on; and those fail on a
fragment that was replaced.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from pipelines.derivation.filling import ColumnFilling, DeriveReport
from pipelines.derivation.fragment import Compute, Derived, DeriveFragments
from pipelines.table.conditional_put import require_conditional_put
from pipelines.table.errors import CommitFailedError
from pipelines.table.publish import ATTEMPTS
from pipelines.table.table import Table
from pipelines.table.tasks import RunTasks, fragment_groups, tasks_here

_ROWS_PER_TASK = 65_536


@dataclass(frozen=True, kw_only=True)
class OneColumn:
    """The work of `derive_column`, as that of several columns."""

    compute: Callable[[pa.Table], pa.Array]

    def __call__(self, rows: pa.Table) -> list[pa.Array]:
        return [self.compute(rows)]


def derive_column(
    table: Table,
    field: pa.Field,
    source: str,
    compute: Callable[[pa.Table], pa.Array],
    *,
    execute: RunTasks = tasks_here,
    commit_interval_s: float = 10.0,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> DeriveReport:
    """Add one column and fill it, as `derive_columns` does; `compute` gives its values alone."""
    return derive_columns(
        table,
        pa.schema([field]),
        source,
        OneColumn(compute=compute),
        execute=execute,
        commit_interval_s=commit_interval_s,
        on_rows=on_rows,
    )


def derive_columns(
    table: Table,
    columns: pa.Schema,
    source: str,
    compute: Compute,
    *,
    execute: RunTasks = tasks_here,
    commit_interval_s: float = 10.0,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> DeriveReport:
    """Add the nullable `columns` to the vector table, unless they are there, and fill them from the column `source`.

    `compute` gets a `pa.Table` with the one column `source`, some rows of a fragment at a time and only vectors of
    finite numbers, and gives an array of each column's type, of the same length, the first null where there can be no
    value. It is pickled to the workers when `execute` is `tasks_on_ray`. After each wave `on_rows` is called with the
    rows published and the rows in all.

    Goes on until every fragment is filled, also those that are added meanwhile. The same call again resumes, or does
    nothing. Raises `RefusedError` for a table without the source, a column of the same name that means something else
    and a store without conditional writes; `CommitFailedError` if storage stays away; `OSError` where it fails.
    """
    require_conditional_put(table)
    column = ColumnFilling(table, columns, source)
    column.add()
    report = DeriveReport()
    idle = 0
    while todo := column.todo():
        task = DeriveFragments(
            table=table,
            version=column.dataset.version,
            columns=columns,
            source=source,
            compute=compute,
        )
        total = report.rows + sum(fragment.count_rows() for fragment in todo)
        before = column.settled
        wave: list[Derived] = []
        last = time.monotonic()
        for results in execute(task, fragment_groups(todo, _ROWS_PER_TASK)):
            wave += results
            if time.monotonic() - last >= commit_interval_s:
                column.publish(wave, report)
                wave, last = [], time.monotonic()
                on_rows(report.rows, total)
        column.publish(wave, report)
        on_rows(report.rows, total)
        idle = idle + 1 if column.settled == before else 0
        if idle == ATTEMPTS:
            raise CommitFailedError(
                f"{table.uri}: {idle} passes over {column.first} have published nothing; other jobs rewrite the same "
                "fragments all the time. Run the same command again when they have ended"
            )
        column.reload()
        column.correct(report)
    report.version = column.dataset.version
    return report
