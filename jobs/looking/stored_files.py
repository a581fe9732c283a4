"""What jobs have left beside a table: the JSON of runs, of evaluations, of clusterings and of nights."""

from collections.abc import Sequence
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError
from pydantic import BaseModel, ValidationError

from jobs.nights.report import FOLDER as NIGHTS
from operators.storage.redact import reason_of
from operators.storage.stores import object_store
from pipelines.table.table import Table

Stored = TypeVar("Stored", bound=BaseModel)


class StoredFiles:
    """Read from the latest back; what is there and is of another release is left out and named."""

    def __init__(self, table: Table) -> None:
        """Raises `OSError`."""
        self._table = table
        self._store, self._prefix = object_store(table.names.runs, table.storage)
        self.unread: list[str] = []
        try:
            found = obstore.list_with_delimiter(self._store, prefix=self._prefix)["common_prefixes"]
        except BaseError as error:
            why = reason_of(str(error).partition("\n")[0])
            raise OSError(f"{table.names.runs}: cannot be listed: {why}") from None
        self._folders = sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def runs(self, kind: type[Stored], most: int) -> list[Stored]:
        """Of embed jobs and refreshes, latest first."""
        return self._read([name for name in self._folders if name[:1].isdigit()], "report.json", kind, most)

    def latest(self, of: str, file: str, kind: type[Stored]) -> Stored | None:
        """The file of the latest folder whose name begins with `of`; None where there is none."""
        found = self._read([name for name in self._folders if name.startswith(of)], file, kind, 1)
        return found[0] if found else None

    def nights(self, kind: type[Stored], most: int) -> list[Stored]:
        """Latest first."""
        return self._read([name for name in self._folders if name.startswith(NIGHTS)], "report.json", kind, most)

    def _read(self, folders: Sequence[str], file: str, kind: type[Stored], most: int) -> list[Stored]:
        read: list[Stored] = []
        for folder in reversed(folders):
            if len(read) == most:
                break
            place = f"{self._table.names.runs}/{folder}/{file}"
            try:
                data = bytes(obstore.get(self._store, f"{self._prefix}/{folder}/{file}").bytes())
                read.append(kind.model_validate_json(data))
            except FileNotFoundError:
                continue
            except ValidationError:
                self.unread.append(place)
            except BaseError as error:
                raise OSError(f"{place}: cannot be read: {reason_of(error)}") from None
        return read
