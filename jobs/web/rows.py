"""Rows of a table for the page: a look at some, one with all its columns, and what lies near it in other ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.web.asked import RowsShown, ServedRow
from operators.base.columns import DELETED_AT, ETAG, REGION, ROW, SHA256, SHARD, SIZE_BYTES, URI
from operators.base.errors import UserError
from pipelines.ledger.entries import ManifestEntry, read_entries
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.scan.python_rows import python_rows
from pipelines.scan.where import filtered, row_filter
from pipelines.search.nearest import ROW_ID, take_rows
from pipelines.search.rows import no_such_rows, row_ids_of, shown_columns
from pipelines.table.errors import TableError
from pipelines.table.table import Table

_NO_ROW = "Invalid user input"
"""How the `OSError` begins with which Lance (13.0.0) refuses to take a row that the table does not have."""


class NoRowError(UserError):
    """A row that is not there, or whose image was deleted."""


@dataclass(frozen=True, kw_only=True)
class PictureRow:
    """Where the image of a row is, and which image it was when it was embedded."""

    uri: str
    sha256: str | None = None
    version: tuple[Any, ...]
    key: int = 0
    """The row's position, `shard << 32 | row`."""
    entries: Sequence[ManifestEntry] = ()
    """The table's manifests."""


_OF_PICTURES = (URI.name, SHARD.name, ROW.name, ETAG.name, SHA256.name, SIZE_BYTES.name, DELETED_AT.name)


def picture_row(dataset: Any, row: int) -> PictureRow:
    """The image of one row. Raises `NoRowError`."""
    values = _one(dataset, row, [name for name in _OF_PICTURES if name in dataset.schema.names])
    version = tuple(values.get(name) for name in (ETAG.name, SHA256.name, SIZE_BYTES.name))
    uri = values[URI.name] or ""
    key = (int(values.get(SHARD.name) or 0) << 32) | int(values.get(ROW.name) or 0)
    # Only of an image in a tar or a Parquet file has the URI a part behind the file's.
    entries = read_entries(dict(dataset.metadata), {}) if "#" in uri else ()
    return PictureRow(uri=uri, sha256=values.get(SHA256.name), version=version, key=key, entries=entries)


def row_of_id(dataset: Any, name: str, table: Table) -> PictureRow:
    """The image with an id. Raises `UserError` where the table has none."""
    found = row_ids_of(dataset, [name])
    if name not in found:
        raise no_such_rows(table, [name])[name]
    return picture_row(dataset, found[name])


def one_row(dataset: Any, row: int) -> ServedRow:
    """All columns of one row but the vectors. Raises `NoRowError`."""
    values = _one(dataset, row, shown_columns(dataset.schema))
    return ServedRow(row=str(row), region=values.pop(REGION.name, None), values=values)


def some_rows(dataset: Any, where: str | None, limit: int) -> RowsShown:
    """The first live rows that match. Raises `UserError` for a filter that does not work on the table."""
    condition = None if where is None else row_filter(dataset, where, "where")
    both = " AND ".join(f"({each})" for each in (live_rows(dataset.schema), condition) if each) or None
    with filtered(dataset, where, "where"):
        batches = list(plain_scan(dataset, shown_columns(dataset.schema), both, limit=limit + 1, with_row_id=True))
    rows = [row for batch in batches for row in python_rows(pa.table(batch))]
    served = [
        ServedRow(row=str(row.pop(ROW_ID)), region=row.pop(REGION.name, None), values=row) for row in rows[:limit]
    ]
    return RowsShown(version=dataset.version, rows=served, more=len(rows) > limit)


def _one(dataset: Any, row: int, columns: list[str]) -> dict[str, Any]:
    try:
        values = python_rows(take_rows(dataset, np.array([row], np.uint64), columns))[0]
    except (TableError, OSError, OverflowError) as error:
        if isinstance(error, OSError) and not str(error).startswith(_NO_ROW):
            raise
        raise NoRowError(f"there is no row {row} in the table") from None
    if live_rows(dataset.schema) is not None and values.get(DELETED_AT.name) is not None:
        raise NoRowError(f"the image of row {row} was deleted from its source")
    return values
