"""What two states of a table hold, streamed row by row, as their differences are told by it."""

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ERROR, ERROR_CLASS, ETAG, ID, SHA256, URI
from pipelines.scan.plain import plain_scan

DELETED_AT = pa.field("deleted_at", pa.timestamp("us", tz="UTC"))
IMAGES = pa.schema([ID, URI, ETAG, SHA256, DELETED_AT])
FAILURES = pa.schema([ID, URI, ERROR_CLASS])
_BATCH_ROWS = 65_536


def compared(before: Any, after: Any) -> set[str]:
    """The columns by which the images of two vector tables are compared: those that both have, and the mark of deleted
    rows in either."""
    return {*before.schema.names} & {*after.schema.names} | {DELETED_AT.name}


def image_rows(dataset: Any, columns: Collection[str]) -> Iterator[pa.Table]:
    """Rows of `IMAGES` of a vector table, in any order: of an image with several regions there may be several, all
    alike. Other columns than those that are asked for are null, rows without an id are left out."""
    for rows in _rows(dataset, IMAGES, columns):
        yield rows.filter(rows[ID.name].is_valid())


def failure_rows(dataset: Any) -> Iterator[pa.Table]:
    """Rows of `FAILURES`. One that has no id, of a manifest row that is none, is known by its URI or its reason."""
    for rows in _rows(dataset, pa.schema([*FAILURES, ERROR]), dataset.schema.names):
        names = pc.coalesce(rows[ID.name], rows[URI.name], rows[ERROR.name], "")
        yield rows.set_column(0, ID.name, names).select(FAILURES.names)


def _rows(dataset: Any, schema: pa.Schema, columns: Collection[str]) -> Iterator[pa.Table]:
    there = [field.name for field in schema if field.name in columns and field.name in dataset.schema.names]
    for batch in plain_scan(dataset, there, in_order=False, batch_size=_BATCH_ROWS):
        columns = [
            batch[field.name].cast(field.type) if field.name in there else pa.nulls(batch.num_rows, field.type)
            for field in schema
        ]
        yield pa.Table.from_arrays(columns, schema=schema)
