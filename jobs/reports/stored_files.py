"""What jobs have left beside a table, in a folder each: the JSON of runs, evaluations, clusterings and nights; and the
configuration of each run."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from pydantic import BaseModel, ValidationError

from operators.storage.redact import reason_of
from operators.storage.stores import object_store
from pipelines.table.table import Table

REPORT = "report.json"
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
        except FileNotFoundError:
            found = []
        except BaseError as error:
            raise self._failed(error) from None
        self._folders = sorted((path.rstrip("/").rpartition("/")[2] for path in found), reverse=True)

    def runs(self) -> list[str]:
        """Folders of embed jobs and refreshes, the latest first: their names are the ids of the runs."""
        return [name for name in self._folders if name[:1].isdigit()]

    def called(self, of: str) -> list[str]:
        """Folders whose name begins with `of`, the latest first."""
        return [name for name in self._folders if name.startswith(of)]

    def read(self, folder: str, file: str) -> bytes | None:
        """A file; None where there is none, as in the folder of a run that was killed. Raises `OSError`."""
        try:
            return bytes(obstore.get(self._store, f"{self._prefix}/{folder}/{file}").bytes())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise self._failed(error) from None

    def models(self, folders: list[str], file: str, kind: type[Stored]) -> Iterator[Stored]:
        """What the files of the folders say, as far as this release reads them. Raises `OSError`."""
        for folder in folders:
            data = self.read(folder, file)
            try:
                if data is not None:
                    yield kind.model_validate_json(data)
            except ValidationError:
                self.unread.append(f"{self._table.names.runs}/{folder}/{file}")

    def _failed(self, error: BaseError) -> OSError:
        # obstore's errors are no OSErrors, except for an object that is not there.
        why = reason_of(str(error).partition("\n")[0])
        return OSError(f"table {self._table}: the reports in {self._table.names.runs} cannot be read: {why}")


def latest_config(table: Table, runs: Iterable[str]) -> dict[str, Any] | None:
    """That of the latest of these runs that has left one; None where none has. Raises `OSError`."""
    store, prefix = object_store(table.names.runs, table.storage)
    # Their ids begin with the second of their start; of those of one second the later one is further back here.
    for run_id in sorted(runs, key=lambda run_id: run_id.partition("-")[0])[::-1]:
        try:
            found = json.loads(bytes(obstore.get(store, f"{prefix}/{run_id}/config.json").bytes()))
        except FileNotFoundError:
            continue
        except (BaseError, ValueError) as error:
            place = f"{table.names.runs}/{run_id}/config.json"
            raise OSError(f"{place}: cannot be read: {reason_of(error)}") from None
        if isinstance(found, dict):
            return found
    return None


_MASKED = "*" * 10
"""What pydantic writes in place of a secret."""


def without_secrets(values: Any) -> Any:
    """The values without those that are masked: they come from the environment, or are given again."""
    if not isinstance(values, Mapping):
        return values
    return {key: without_secrets(value) for key, value in values.items() if value != _MASKED}
