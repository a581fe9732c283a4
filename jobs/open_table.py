"""A table to read from, by the name a user gives, with a clear error where there is none."""

from typing import Any

import lance

from operators.errors import UserError
from operators.storage import StorageOptions
from pipelines.fenced_table import open_dataset
from pipelines.table_names import TableNames


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


def sql_text(value: str) -> str:
    """A string literal of Lance's SQL."""
    return "'" + value.replace("'", "''") + "'"
