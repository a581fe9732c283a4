"""The settings that a table's rows were embedded with, as its runs have stored them beside it."""

from contextlib import suppress
from typing import Any

from jobs.reports.stored_files import latest_config
from operators.storage.uris import split_uri
from pipelines.ledger.entries import ManifestEntry
from pipelines.manifests.files import locate
from pipelines.manifests.manifest import SourceError
from pipelines.manifests.open import roots_of
from pipelines.table.table import Table

OF_THE_TABLE = ("decode", "normalize", "regions")
"""Keys of an embed job's configuration that hold for all rows of a table, whatever the model."""


def recorded_settings(table: Table, entries: list[ManifestEntry]) -> dict[str, Any] | None:
    """Those keys of the configuration of the latest run that is stored; None where none is. Raises `OSError`."""
    stored = latest_config(table, [entry.run_id for entry in entries])
    return None if stored is None else {key: stored[key] for key in OF_THE_TABLE if key in stored}


def recorded_roots(table: Table, entries: list[ManifestEntry]) -> tuple[str, ...]:
    """The local folders from which the table's sources may read images; those that are gone give none."""
    roots: list[str] = []
    for entry in entries:
        if split_uri(entry.source)[0] != "file":
            continue
        with suppress(SourceError):
            roots += roots_of(locate(entry.source, table.storage))
    return tuple(dict.fromkeys(roots))
