"""Which rows of a table are of images that are there: a refresh marks the others, and leaves them."""

from typing import Any

import pyarrow as pa

from operators.base.columns import DELETED_AT
from pipelines.scan.plain import plain_count
from pipelines.scan.sql import sql_column


def live_rows(schema: pa.Schema) -> str | None:
    """SQL for the rows that are not marked as deleted; None where no row can be. A column of that name and another
    type is a user's own, and marks nothing."""
    marks = DELETED_AT.name in schema.names and schema.field(DELETED_AT.name).type == DELETED_AT.type
    return f"{sql_column(DELETED_AT.name)} IS NULL" if marks else None


def count_marked(dataset: Any, where: str | None = None) -> int:
    """The rows that are marked as deleted, of those that match the SQL."""
    live = live_rows(dataset.schema)
    if live is None:
        return 0
    marked = f"NOT ({live})"
    return plain_count(dataset, marked if where is None else f"{marked} AND ({where})")
