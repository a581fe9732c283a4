"""The folder that an export is written to: files that are there whole or not at all, and a record of what they are."""

import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from operators.failures import clean_message
from operators.redact import redact
from operators.storage import StorageOptions, object_store
from operators.uris import OBJECT_SCHEMES, split_uri
from pipelines.export_plan import ExportError

RECORD = "_export.json"
"""Beside the files: the request, the version of the table, and what the vectors mean. Whoever reads a folder of Parquet
files passes over names that begin so."""
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class ExportFolder:
    """An absolute local path or the URI of a prefix. Plain data: it goes to workers."""

    uri: str
    storage: StorageOptions

    @classmethod
    def at(cls, out: str, storage: StorageOptions) -> "ExportFolder":
        """Raises `ExportError` for a place that nothing can be written to."""
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

    def read_record(self) -> dict[str, Any] | None:
        """What was exported here; None where nothing was."""
        with _storage_errors(self.uri):
            return read_record(self.uri, self.storage)

    def create_record(self, record: dict[str, Any]) -> None:
        """Written once, before any other file. Raises `ExportError` where something else lies in the folder, or
        another export began here in the same moment."""
        with _storage_errors(self.uri):
            others = sorted(self.sizes())
            if others:
                raise ExportError(f"{self.uri}: holds files that no export wrote ({others[0]}); name an empty folder")
            store, path = object_store(f"{self.uri}/{RECORD}", self.storage)
            try:
                obstore.put(store, path, json.dumps(record, indent=1).encode(), mode="create")
            except AlreadyExistsError:
                raise ExportError(f"{self.uri}: another export has just begun here; name another folder") from None

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
        """A local path to write to; when the block ends without an error, the file is there under its name, at once."""
        if "://" in self.uri:
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
        """Remove what killed exports left unfinished. For when every file is there: nothing then writes one."""
        if "://" in self.uri:
            return
        for found in Path(self.uri).rglob(".*"):
            if _UNFINISHED.fullmatch(found.name):
                found.unlink(missing_ok=True)


def read_record(folder: str, storage: StorageOptions) -> dict[str, Any] | None:
    """`_export.json` of a folder; None where there is none, `ExportError` where it is not ours."""
    store, path = object_store(f"{folder}/{RECORD}", storage)
    try:
        record = json.loads(bytes(obstore.get(store, path).bytes()))
    except FileNotFoundError:
        return None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not {"request", "version", "files", "vectors"} <= record.keys():
        raise ExportError(f"{folder}/{RECORD}: was not written by `pixlake export`, or is damaged; take it away")
    return record


@contextmanager
def _storage_errors(uri: str) -> Iterator[None]:
    """obstore's errors are no OSErrors, except for an object that is not there."""
    try:
        yield
    except BaseError as error:
        raise OSError(f"{uri}: {clean_message(redact(str(error)))}") from error
