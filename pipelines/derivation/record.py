"""What it took to make a derived column for rows that were there: a record in the table's metadata."""

from contextlib import suppress

import lance
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.table.errors import CommitFailedError
from pipelines.table.publish import update_table_metadata
from pipelines.table.table import Table

DERIVED_PREFIX = "pixlake.derived."
"""Table metadata key of a record, before the column's name."""


class DeriveRecord(BaseModel):
    """The sum over those runs of `pixlake reduce` that came to their end."""

    model_config = ConfigDict(frozen=True)

    rows: int
    """Rows that these runs filled. Rows that came later have their value from the embed job that wrote them."""
    seconds: float
    """Seconds, fitting a quantizer and waiting for workers included."""


NOTHING = DeriveRecord(rows=0, seconds=0.0)


def read_derive_record(dataset: "lance.LanceDataset", column: str) -> DeriveRecord | None:
    """The record; None where no run of `pixlake reduce` has filled rows of the column, and where it cannot be read."""
    stored = dataset.metadata.get(DERIVED_PREFIX + column)
    try:
        return None if stored is None else DeriveRecord.model_validate_json(stored)
    except ValidationError:
        return None


def add_to_derive_record(table: Table, column: str, earlier: DeriveRecord, rows: int, seconds: float) -> None:
    """Store the sum of what earlier runs and this one took."""
    record = DeriveRecord(rows=earlier.rows + rows, seconds=round(earlier.seconds + seconds, 3))
    # The column is made: storage that fails here costs this figure alone.
    with suppress(CommitFailedError):
        update_table_metadata(table.uri, {DERIVED_PREFIX + column: record.model_dump_json()}, table.storage)
