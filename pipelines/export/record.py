"""What an export says of itself: a record beside its folder, and a mark in its Parquet files that ties them to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import obstore

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, object_store
from pipelines.export.plan import ExportError, ExportRequest

INSIDE = "_export.json"
"""Where exports of Pixlake up to 2026-11-28 have their record: inside the folder, where it breaks polars and Daft,
which take every file of a folder for Parquet."""
MARK_KEY = b"pixlake.export"
"""Key in the schema metadata of every Parquet file of an export: its request and version."""


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """The request, the version of the table, rows, files, and what the vectors mean; and where the record is
    written."""

    uri: str
    content: Mapping[str, Any]

    @property
    def is_inside(self) -> bool:
        return self.uri.endswith(f"/{INSIDE}")

    def is_of(self, metadata: Mapping[bytes, bytes]) -> bool:
        """Whether a Parquet file with this schema metadata belongs to the export."""
        mark = metadata.get(MARK_KEY)
        mine = {name: self.content[name] for name in ("request", "version")}
        return mark is not None and bool(json.loads(mark) == mine)


def mark(request: ExportRequest, version: int) -> dict[bytes, bytes]:
    """Metadata for the schema of a Parquet file."""
    return {MARK_KEY: json.dumps({"request": request.model_dump(mode="json"), "version": version}).encode()}


def beside(folder: str) -> str:
    """URI of the record for an export into the folder: `OUT.export.json`, next to `OUT/`."""
    return f"{folder}.export.json"


def read_record(folder: str, storage: StorageOptions) -> ExportRecord | None:
    """The record beside the folder, or inside for older exports; None where there is none. Raises `ExportError` for a
    file that `pixlake export` did not write."""
    for uri in (beside(folder), f"{folder}/{INSIDE}"):
        store, path = object_store(uri, storage)
        try:
            content = json.loads(bytes(obstore.get(store, path).bytes()))
        except FileNotFoundError:
            continue
        except ValueError:
            content = None
        if not isinstance(content, dict) or not {"request", "version", "files", "vectors"} <= content.keys():
            raise ExportError(f"{redact_uri(uri)}: was not written by `pixlake export`, or is damaged; take it away")
        return ExportRecord(uri=uri, content=content)
    return None
