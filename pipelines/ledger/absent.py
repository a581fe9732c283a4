"""Why the vector table has no row with an id."""

from collections.abc import Sequence
from datetime import datetime

import pyarrow.compute as pc

from operators.base.columns import ID
from pipelines.ledger.takedowns import Takedowns
from pipelines.scan.plain import plain_scan
from pipelines.scan.sql import sql_text
from pipelines.table.table import Table, open_dataset

_IDS_A_FILTER = 1000
_REASON = ("uri", "stage", "error_class", "error")


def why_absent(table: Table, ids: Sequence[str]) -> dict[str, str]:
    """Id -> the reason, of those that were taken down, or whose image has failed, in the latest state of the table.
    Raises `OSError` where storage fails."""
    return _failed(table, ids) | _taken_down(table, ids)


def _taken_down(table: Table, ids: Sequence[str]) -> dict[str, str]:
    records = Takedowns.read(table).records
    mine = records.filter(pc.is_in(records[ID.name], value_set=pc.cast(list(ids), ID.type)))
    days: dict[str, datetime] = dict(zip(mine[ID.name].to_pylist(), mine["deleted_at"].to_pylist(), strict=True))
    return {name: f"it was taken down by `pixlake delete` on {day:%Y-%m-%d}" for name, day in days.items()}


def _failed(table: Table, ids: Sequence[str]) -> dict[str, str]:
    failures = open_dataset(table.names.failures, table.storage)
    found: dict[str, str] = {}
    for first in range(0, len(ids) if failures is not None else 0, _IDS_A_FILTER):
        listed = ", ".join(map(sql_text, ids[first : first + _IDS_A_FILTER]))
        for batch in plain_scan(failures, [ID.name, *_REASON], f"`{ID.name}` IN ({listed})"):
            for row in batch.to_pylist():
                found[row[ID.name]] = (
                    f"its image has failed, {row['uri']}: {row['stage']}, {row['error_class']}: {row['error']}"
                )
    return found
