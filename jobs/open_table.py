"""A table to read from, by the name a user gives, with a clear error where there is none."""

from collections.abc import Mapping
from typing import Any

import lance
from pydantic import BaseModel, ConfigDict, model_validator

from jobs.embed_config import EmbedConfig
from operators.errors import UserError
from operators.storage import NO_OPTIONS, StorageOptions
from pipelines.fenced_table import open_dataset
from pipelines.table_names import TableNames


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
        """Keys of `EmbedConfig` that mean nothing here are dropped; what neither knows is refused as unknown."""
        if not isinstance(values, Mapping):
            return values
        unused = EmbedConfig.model_fields.keys() - cls.model_fields.keys()
        return {key: value for key, value in values.items() if key not in unused}

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


def sql_text(value: str) -> str:
    """A string literal of Lance's SQL."""
    return "'" + value.replace("'", "''") + "'"
