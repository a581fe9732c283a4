"""A table in its place: opened at its latest version, or at another."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import lance

from operators.base.errors import UserError
from operators.storage.redact import reason_of
from operators.storage.refused import refused_credentials
from operators.storage.stores import NO_OPTIONS, StorageOptions, lance_options
from pipelines.table.errors import RefusedError, TableError
from pipelines.table.names import TableNames

_SOURCE_LINES = re.compile(r",? ?\S*/\S+\.rs:\d+(:\d+)?")
"""Where in Lance's sources an error was made, at the end of its message."""


def open_dataset(
    uri: str, storage: StorageOptions = NO_OPTIONS, version: int | None = None
) -> "lance.LanceDataset | None":
    """One Lance table, at its latest version unless another is given; None where there is no table. Raises `OSError`
    where the storage fails, `RefusedError` where it refuses the credentials, `StorageError` where there are none."""
    options = lance_options(uri, storage)
    try:
        return lance.dataset(uri, version=version, storage_options=options)
    except ValueError as error:
        if "not found" in str(error):
            return None
        refused = refused_credentials(str(error), uri, storage)
        if refused:
            raise RefusedError(
                f"{uri}: the store {refused}. The table is reached by table_storage, where it is given, and else by "
                "storage: set key and secret or profile there, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, to "
                "credentials that may read and write it"
            ) from error
        # Lance raises it for whatever is wrong on opening, storage that fails included.
        why = _SOURCE_LINES.sub("", reason_of(error)).removeprefix("LanceError(IO): ")
        remote = "check the place and the storage options"
        cure = remote if "://" in uri else "bring its files back, or take another table"
        raise OSError(f"{uri}: cannot be opened: {why}; {cure}") from error


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
            raise UserError(f"table {self}: there is none at {self.uri}{self._others()}")
        return dataset

    def _others(self) -> str:
        """What to name instead: a table in the folder that was named, or one beside; and how to make this one."""
        inside = _tables_in(Path(self.names.database) / self.names.name)
        if inside:
            return f"; it is a folder of tables: name one of them, such as {str(self).rstrip('/')}/{inside[0]}"
        beside = _tables_in(Path(self.names.database))
        there = f" (tables there: {', '.join(beside[:10])}{', …' if len(beside) > 10 else ''})" if beside else ""
        return f"{there}; `pixlake embed SOURCE {self}` makes it"

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


def _tables_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.lance") if "__" not in path.stem)
