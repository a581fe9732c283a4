"""A table to read from, by the name a user gives, with a clear error where there is none."""

from typing import Any

import lance
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, model_validator

from jobs.config.embed import without_embed_keys
from operators.base.errors import UserError
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.space.record import SpaceError, read_reductions, read_space, vector_columns
from pipelines.table.fenced_table import open_dataset
from pipelines.table.names import TableNames


class ReadConfig(BaseModel):
    """What every job that reads a table takes. The file of the embed job that made the table serves as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    storage: StorageOptions = NO_OPTIONS
    """For images, and for the table unless `table_storage` is given."""
    table_storage: StorageOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_for_embed(cls, values: Any) -> Any:
        return without_embed_keys(values, cls.model_fields)

    @property
    def storage_of_table(self) -> StorageOptions:
        return self.table_storage or self.storage


def open_vectors(table: str, storage: StorageOptions) -> "lance.LanceDataset":
    """The vector table at its latest version."""
    names = TableNames.from_table(table)
    dataset = open_dataset(names.vectors, storage)
    if dataset is None:
        raise UserError(f"table {table}: there is none at {names.vectors}; `pixlake embed SOURCE {table}` makes it")
    return dataset


def open_failures(table: str, storage: StorageOptions) -> Any:
    """The failures table at its latest version."""
    names = TableNames.from_table(table)
    dataset = open_dataset(names.failures, storage)
    if dataset is None:
        raise UserError(f"table {table}: there is no failures table at {names.failures}; was it made by Pixlake?")
    return dataset


def columns_there(table: str, schema: pa.Schema) -> list[str]:
    """The vector columns, one at least. Raises `SpaceError` for a table that Pixlake did not make."""
    there = vector_columns(schema)
    if not there:
        raise SpaceError(f"table {table}: no column has a recorded space, so it is not one of Pixlake's")
    return there


def choose_column(table: str, schema: pa.Schema, column: str | None) -> str:
    """The vector column asked for, or the only one of a model. Raises `UserError` naming those there."""
    there = columns_there(table, schema)
    if column in there:
        return column
    of_models = [name for name in there if name not in read_reductions(schema)]
    if column is None and 1 in (len(of_models), len(there)):
        return [*of_models, *there][0]
    listed = ", ".join(f"{name} ({read_space(schema.field(name), table)[1].spec.name})" for name in there)
    if column is None:
        raise UserError(f"table {table}: has several vector columns, name one with --column: {listed}")
    raise UserError(f"table {table}: no vector column {column!r}; there: {listed}")
