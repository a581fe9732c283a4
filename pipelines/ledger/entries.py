"""Which manifests feed a table: each registered in the metadata of both tables, with shard numbers of its own.

There are two records because another tool may take one table back to an earlier version, or replace its metadata: the
other table then still has its record, and the difference tells that rows may be gone.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pipelines.table.errors import RefusedError

ENTRY_PREFIX = "pixlake.manifest."


ManifestStatus = Literal["running", "complete", "abandoned", "undone"]
"""`undone`: it was complete, and since then one of the tables has lost its record of that, and may have lost rows."""


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One manifest of a table, known by the digest of its content."""

    digest: str
    source: str
    first_shard: int
    num_shards: int
    """Shard numbers that it owns, from `first_shard` on."""
    rows: int
    whole: bool
    """False while only its beginning is known: `rows` may still grow."""
    limit: int | None
    """How many rows the latest run was to cover; None for all."""
    run_id: str
    """The latest run on it."""
    status: ManifestStatus
    revision: int = 0
    """How often it was written since both tables have a record; of two records the higher one is valid. 0 for a release
    that wrote it to the vector table alone."""
    content: str | None = None
    """Digest of its rows (`content_digest`), where they were read for that once it was complete."""
    registered: str = ""
    """A new value each time that the manifest is registered; empty for earlier versions of Pixlake."""
    delta: bool = False
    """Whether a refresh made it, of what had changed in the source."""

    @property
    def covered(self) -> int:
        """Rows that the latest run was to cover."""
        return self.rows if self.limit is None else min(self.limit, self.rows)

    @property
    def is_new(self) -> bool:
        """Whether it was registered just now: none of its rows can have been in the tables before."""
        return bool(self.registered) and self.revision == 1

    @property
    def key(self) -> str:
        """The name of what is kept of the manifest beside the table. Shard numbers will not do: they may be given out
        again, after LanceDB's `restore` took the entry away."""
        return self.registered or f"{self.digest[:16]}-{self.first_shard}"


def read_entries(vectors: Mapping[str, str], failures: Mapping[str, str]) -> list[ManifestEntry]:
    """The manifests registered in the metadata of both tables, in the order of their shards."""
    ours, theirs = _stored(vectors), _stored(failures)
    entries = [_agreed(ours.get(digest), theirs.get(digest)) for digest in {**ours, **theirs}]
    return sorted(entries, key=lambda entry: entry.first_shard)


def _stored(metadata: Mapping[str, str]) -> dict[str, ManifestEntry]:
    entries = [ManifestEntry(**json.loads(v)) for k, v in metadata.items() if k.startswith(ENTRY_PREFIX)]
    return {entry.digest: entry for entry in entries}


def _agreed(vectors: ManifestEntry | None, failures: ManifestEntry | None) -> ManifestEntry:
    """The valid entry of a manifest, from the record in each table's metadata; at least one of the two is there."""
    if vectors == failures or (failures is None and vectors is not None and not vectors.revision):
        assert vectors is not None
        return vectors
    latest = max((each for each in (vectors, failures) if each is not None), key=lambda entry: entry.revision)
    return replace(latest, status="undone") if latest.status == "complete" else latest


def is_refreshed(entries: Iterable[ManifestEntry], source: str) -> bool:
    """Whether refreshes keep the table to the source: rows of its manifests have been replaced by those of others."""
    return any(entry.delta and entry.source == source for entry in entries)


def finished_entry(entries: Iterable[ManifestEntry], digest: str, limit: int | None) -> ManifestEntry | None:
    """The entry of a manifest that is complete as far as `limit`; None where there is work left."""
    for entry in entries:
        if entry.digest == digest and entry.status == "complete" and _covers(entry, limit):
            return entry
    return None


def running_entry(entries: Iterable[ManifestEntry], run_id: str, table: str) -> ManifestEntry:
    """The unfinished manifest whose latest run this is. Raises `RefusedError`, naming the unfinished ones."""
    running = [entry for entry in entries if entry.status == "running"]
    for entry in running:
        if entry.run_id == run_id:
            return entry
    names = ", ".join(f"{entry.run_id} ({entry.source})" for entry in running) or "none"
    raise RefusedError(f"table {table}: no unfinished run is called {run_id!r}; unfinished runs: {names}")


def _covers(entry: ManifestEntry, limit: int | None) -> bool:
    return entry.limit is None or (limit is not None and limit <= entry.limit)
