"""The folder that an export is written to: files that are there whole or not at all, and what lies beside it."""

import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, object_store
from operators.storage.uris import OBJECT_SCHEMES, split_uri
from pipelines.export.plan import ExportError
from pipelines.export.record import ExportRecord, beside, read_record

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class ExportFolder:
    """An absolute local path or the URI of a prefix. Plain data: it goes to workers."""

    uri: str
    storage: StorageOptions

    @property
    def _is_local(self) -> bool:
        return "://" not in self.uri

    @property
    def name(self) -> str:
        """Name of the folder; what lies beside it is named after it."""
        return self.uri.rpartition("/")[2]

    @classmethod
    def at(cls, out: str, storage: StorageOptions) -> "ExportFolder":
        """The folder at the place `out`. Raises `ExportError` for a place that nothing can be written to."""
        scheme, bucket, key = split_uri(out.rstrip("/") or "/")
        if scheme == "file":
            path = Path(os.path.abspath(os.path.expanduser(key)))
            there = next(each for each in (path, *path.parents) if each.exists())
            if not there.is_dir():
                raise ExportError(f"{out}: {there} is a file, and exports go to a folder; name another one")
            return cls(uri=str(path), storage=storage)
        if scheme not in OBJECT_SCHEMES or not key:
            raise ExportError(f"{out}: exports go to a local folder or to a prefix of a bucket: s3://BUCKET/FOLDER")
        return cls(uri=f"{scheme}://{bucket}/{key}", storage=storage)

    def read_record(self) -> ExportRecord | None:
        """The record of what was exported here; None where nothing was, or where the folder has been removed since."""
        if self._is_local and not os.path.isdir(self.uri):
            return None
        with _storage_errors(self.uri):
            return read_record(self.uri, self.storage)

    def create_record(self, content: Mapping[str, Any]) -> None:
        """Write the record, once and before any other file. The record of a local folder that has been removed is
        replaced. Raises `ExportError` where something else lies in the folder, or where another export began here at
        the same moment."""
        with _storage_errors(self.uri):
            others = sorted(self.sizes())
            if others:
                raise ExportError(f"{self.uri}: holds files that no export wrote ({others[0]}); name an empty folder")
            mode: Literal["create", "overwrite"] = "overwrite" if self._take_over() else "create"
            store, path = object_store(beside(self.uri), self.storage)
            try:
                obstore.put(store, path, json.dumps(content, indent=1).encode(), mode=mode)
            except AlreadyExistsError:
                raise ExportError(f"{self.uri}: another export has just begun here; name another folder") from None

    def _take_over(self) -> bool:
        """Make a local folder. True where the record beside it belongs to a folder that was removed, and this process
        is the one that made it anew."""
        if not self._is_local:
            return False
        left_over = os.path.exists(beside(self.uri))
        os.makedirs(os.path.dirname(self.uri), exist_ok=True)
        try:
            os.mkdir(self.uri)
        except FileExistsError:
            return False
        return left_over

    def put_beside(self, ending: str, data: bytes) -> None:
        """Write `OUT.ending` next to `OUT/`, unless it is there with this content."""
        with _storage_errors(self.uri):
            store, path = object_store(f"{self.uri}.{ending}", self.storage)
            with suppress(FileNotFoundError):
                if bytes(obstore.get(store, path).bytes()) == data:
                    return
            obstore.put(store, path, data)

    def sizes(self) -> dict[str, int]:
        """Name below the folder -> bytes, of every file; unfinished ones are left out."""
        found = {}
        with _storage_errors(self.uri):
            store, prefix = object_store(self.uri, self.storage)
            for page in obstore.list(store, prefix):
                for meta in page:
                    name = meta["path"][len(prefix) + 1 :]
                    if not _UNFINISHED.fullmatch(name.rpartition("/")[2]):
                        found[name] = meta["size"]
        return found

    @contextmanager
    def whole_file(self, name: str) -> Iterator[str]:
        """Gives a local path to write to; when the block ends without an error, the file appears under its name,
        whole."""
        if not self._is_local:
            with tempfile.TemporaryDirectory(prefix="pixlake-") as folder:
                yield f"{folder}/file"
                with _storage_errors(self.uri):
                    store, key = object_store(f"{self.uri}/{name}", self.storage)
                    # In several requests where it is large; the object appears with the last one.
                    obstore.put(store, key, Path(folder, "file"))
            return
        folder, base = os.path.split(f"{self.uri}/{name}")
        os.makedirs(folder, exist_ok=True)
        unfinished = f"{folder}/.{base}.{uuid.uuid4().hex}"
        try:
            yield unfinished
            os.replace(unfinished, f"{folder}/{base}")
        finally:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)

    def sweep(self) -> None:
        """Remove what killed exports left unfinished. Only for when every file is there, since nothing is then being
        written."""
        if not self._is_local:
            return
        for found in Path(self.uri).rglob(".*"):
            if _UNFINISHED.fullmatch(found.name):
                found.unlink(missing_ok=True)


@contextmanager
def _storage_errors(uri: str) -> Iterator[None]:
    """Turns obstore's errors into OSErrors: they are none, except for an object that is not there."""
    try:
        yield
    except BaseError as error:
        raise OSError(f"{uri}: {reason_of(error)}") from error
