"""A table in its place: opened at its latest version, or at another."""

from dataclasses import dataclass, field

import lance

from operators.base.errors import UserError
from operators.storage.stores import NO_OPTIONS, StorageOptions, lance_options
from pipelines.table.errors import TableError
from pipelines.table.names import TableNames


def open_dataset(
    uri: str, storage: StorageOptions = NO_OPTIONS, version: int | None = None
) -> "lance.LanceDataset | None":
    """One Lance table, at its latest version unless another is given; None where there is no table. Raises `OSError`
    where the storage fails."""
    try:
        return lance.dataset(uri, version=version, storage_options=lance_options(uri, storage))
    except ValueError as error:
        if "not found" in str(error):
            return None
        # Lance raises it for whatever is wrong on opening, storage that fails included.
        raise OSError(f"{uri}: cannot be opened: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Table:
    """Where all parts of a table lie, and how they are reached. Plain data: workers open what they are sent."""

    names: TableNames
    storage: StorageOptions = NO_OPTIONS
    called: str | None = field(default=None, compare=False)
    """The name as the user gave it, for what the user reads."""

    @classmethod
    def of(cls, table: str, storage: StorageOptions = NO_OPTIONS) -> "Table":
        """The table by the name that a user gives. Raises `RefusedError` for a bad one."""
        return cls(names=TableNames.from_table(table), storage=storage, called=table)

    @property
    def uri(self) -> str:
        """URI of the vector table."""
        return self.names.vectors

    @property
    def artifacts(self) -> str:
        """The folder of artifacts fitted on its vectors."""
        return self.names.artifacts

    def __str__(self) -> str:
        return self.called or f"{self.names.database.rstrip('/')}/{self.names.name}"

    def latest(self) -> "lance.LanceDataset":
        """The vector table. Raises `UserError` where there is none, `OSError` where storage fails."""
        dataset = open_dataset(self.uri, self.storage)
        if dataset is None:
            raise UserError(f"table {self}: there is none at {self.uri}; `pixlake embed SOURCE {self}` makes it")
        return dataset

    def latest_failures(self) -> "lance.LanceDataset":
        """The failures table. Raises as `latest` does."""
        dataset = open_dataset(self.names.failures, self.storage)
        if dataset is None:
            raise UserError(
                f"table {self}: there is no failures table at {self.names.failures}; was it made by Pixlake?"
            )
        return dataset

    def at(self, version: int) -> "lance.LanceDataset":
        """The vector table at an earlier version: rows that have been compacted away since are still there.

        Raises `TableError` where the table or the version is gone, `OSError` where storage fails.
        """
        dataset = open_dataset(self.uri, self.storage, version)
        if dataset is None:
            raise TableError(
                f"{self.uri}: version {version} is gone; the table was dropped, or its old versions were cleaned up, "
                "while it was being read"
            )
        return dataset
