"""Where a search for duplicates keeps what it has done so far: whole objects in a folder of the table's run files, so
that the same command goes on after a kill."""

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import obstore
from obstore.exceptions import BaseError

from operators.storage.redact import reason_of
from operators.storage.stores import ObjectStore, object_store
from operators.storage.uris import split_uri
from pipelines.table.errors import TableError
from pipelines.table.table import Table

PREFIX = "duplicates-"


@dataclass(frozen=True, kw_only=True)
class WorkFolder:
    """The folder of one request. Plain data: workers open what they are sent."""

    table: Table
    digest: str

    @classmethod
    def of(cls, table: Table, request: Any) -> "WorkFolder":
        """The folder for a JSON-ready request: another request has another."""
        text = json.dumps(request, sort_keys=True)
        return cls(table=table, digest=hashlib.sha256(text.encode()).hexdigest()[:16])

    def put(self, name: str, data: bytes) -> None:
        """Write one object, which appears whole. Raises `OSError`."""
        store, key = self._at(name)
        try:
            obstore.put(store, key, data)
        except BaseError as error:
            raise OSError(f"{self._uri(name)}: cannot write there: {reason_of(error)}") from None

    def put_array(self, name: str, array: np.ndarray) -> None:
        """Write an array as `.npy`."""
        held = io.BytesIO()
        np.save(held, array, allow_pickle=False)
        self.put(name, held.getvalue())

    def array(self, name: str) -> np.ndarray:
        """What `put_array` wrote. Raises as `read` does."""
        held: np.ndarray = np.load(io.BytesIO(self.read(name)), allow_pickle=False)
        return held

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes `start` to `end` of an object, or all of it. Raises `TableError` where it is gone, `OSError`."""
        store, key = self._at(name)
        try:
            if end is None:
                return bytes(obstore.get(store, key).bytes())
            return bytes(obstore.get_range(store, key, start=start, end=end))
        except FileNotFoundError:
            raise TableError(
                f"{self._uri(name)}: is gone: another `pixlake duplicates` of this table has ended and cleared away; "
                "run the same command again"
            ) from None
        except BaseError as error:
            raise OSError(f"{self._uri(name)}: cannot be read: {reason_of(error)}") from None

    def names(self) -> set[str]:
        """Names of the objects that are there. Raises `OSError`."""
        store, key = self._at("")
        return {path.rpartition("/")[2] for path in self._listed(store, key)}

    def clear(self) -> None:
        """Delete this folder and those of earlier requests that were never finished. Raises `OSError`."""
        runs = self.table.names.runs
        if split_uri(runs)[0] == "file":
            for folder in Path(runs).glob(f"{PREFIX}*"):
                # Another run of the same command may clear away as well.
                shutil.rmtree(folder, ignore_errors=True)
            return
        store, key = object_store(runs, self.table.storage)
        old = [path for path in self._listed(store, f"{key}/") if path[len(key) + 1 :].startswith(PREFIX)]
        try:
            if old:
                obstore.delete(store, old)
        except BaseError as error:
            raise OSError(f"{runs}: cannot delete there: {reason_of(error)}") from None

    def _listed(self, store: ObjectStore, prefix: str) -> list[str]:
        try:
            return [each["path"] for page in obstore.list(store, prefix=prefix) for each in page]
        except BaseError as error:
            raise OSError(f"{self.table.names.runs}: cannot be listed: {reason_of(error)}") from None

    def _uri(self, name: str) -> str:
        return f"{self.table.names.runs}/{PREFIX}{self.digest}/{name}"

    def _at(self, name: str) -> tuple[ObjectStore, str]:
        return object_store(self._uri(name), self.table.storage)
