"""Which manifests feed a table: each registered in the table's metadata, with shard numbers of its own."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from operators.redact import redact_uri
from pipelines.commits import Committer
from pipelines.table_errors import RefusedError

_PREFIX = "pixlake.manifest."

RESERVED_SHARDS = 1 << 20
"""Shard numbers set aside for a manifest of which a limit has shown only the beginning: more of it may follow."""

Status = Literal["running", "complete", "abandoned"]


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One manifest of a table, by its content."""

    digest: str
    source: str
    first_shard: int
    num_shards: int
    """Shard numbers that belong to it."""
    rows: int
    whole: bool
    """False while only its beginning is known: `rows` may still grow."""
    limit: int | None
    """How many rows the latest run was to cover; None for all."""
    run_id: str
    """The latest run on it."""
    status: Status


def read_entries(metadata: Mapping[str, str]) -> list[ManifestEntry]:
    """The manifests registered in a table's metadata, in the order of their shards."""
    entries = [ManifestEntry(**json.loads(v)) for k, v in metadata.items() if k.startswith(_PREFIX)]
    return sorted(entries, key=lambda entry: entry.first_shard)


def finished_entry(metadata: Mapping[str, str], digest: str, limit: int | None) -> ManifestEntry | None:
    """The entry of a manifest that is complete as far as `limit`; None where there is work left."""
    for entry in read_entries(metadata):
        if entry.digest == digest and entry.status == "complete" and _covers(entry, limit):
            return entry
    return None


def running_entry(metadata: Mapping[str, str], run_id: str, table: str) -> ManifestEntry:
    """The unfinished manifest whose latest run this is. Raises `RefusedError`, naming those there are."""
    running = [entry for entry in read_entries(metadata) if entry.status == "running"]
    for entry in running:
        if entry.run_id == run_id:
            return entry
    names = ", ".join(f"{entry.run_id} ({entry.source})" for entry in running) or "none"
    raise RefusedError(f"table {table}: no unfinished run is called {run_id!r}; unfinished runs: {names}")


class Registry:
    """The manifests of the table that a committer holds."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def entries(self) -> list[ManifestEntry]:
        return read_entries(self._committer.metadata)

    def register(
        self,
        *,
        digest: str,
        source: str,
        rows: int,
        num_shards: int,
        run_id: str,
        limit: int | None = None,
        whole: bool = True,
    ) -> ManifestEntry:
        """The manifest's entry: as it stands if it is complete as far as `limit`, else `running` under `run_id`.

        A new one gets the shard numbers after all others; if `whole` is false (a limit ended its normalisation),
        `RESERVED_SHARDS` of them, so that its rows keep their positions when more of it is embedded later. Raises
        `RefusedError` while an earlier state of the same source is unfinished, and if the manifest is now cut into
        other shards than when it was registered.
        """
        source = redact_uri(source)
        finished = finished_entry(self._committer.metadata, digest, limit)
        if finished:
            return finished
        known = {entry.digest: entry for entry in self.entries()}
        entry = known.get(digest)
        _refuse_unfinished(known.values(), digest, source)
        if entry is None:
            first_shard = max((e.first_shard + e.num_shards for e in known.values()), default=0)
            numbers = num_shards if whole else max(num_shards, RESERVED_SHARDS)
        else:
            self._check_cut(entry, num_shards, rows, whole)
            first_shard, numbers = entry.first_shard, entry.num_shards
            rows, whole = max(rows, entry.rows), whole or entry.whole
        return self._put(
            ManifestEntry(
                digest=digest,
                source=source,
                first_shard=first_shard,
                num_shards=numbers,
                rows=rows,
                whole=whole,
                limit=limit,
                run_id=run_id,
                status="running",
            )
        )

    def complete(self, entry: ManifestEntry) -> ManifestEntry:
        """Mark the manifest as done as far as its limit."""
        return self._put(replace(entry, status="complete"))

    def abandon(self, run_id: str) -> ManifestEntry:
        """Give an unfinished manifest up, so that another state of its source can be embedded. Its rows stay.

        Raises `RefusedError` if no unfinished manifest has this run as its latest.
        """
        entry = running_entry(self._committer.metadata, run_id, self._committer.names.vectors)
        return self._put(replace(entry, status="abandoned"))

    def _check_cut(self, entry: ManifestEntry, num_shards: int, rows: int, whole: bool) -> None:
        """Raise `RefusedError` where positions of this cut would not be those that the table holds."""
        reserved = entry.num_shards >= RESERVED_SHARDS
        fits = num_shards <= entry.num_shards if reserved or not whole else num_shards == entry.num_shards
        if not fits or (whole and entry.whole and rows != entry.rows):
            raise RefusedError(
                f"{self._committer.names.vectors}: {entry.source} was registered as {entry.num_shards} shards of "
                f"{entry.rows} rows and is now cut into {num_shards} of {rows}; use the shard settings of run "
                f"{entry.run_id}"
            )

    def _put(self, entry: ManifestEntry) -> ManifestEntry:
        self._committer.set_metadata({_PREFIX + entry.digest: json.dumps(asdict(entry))})
        return entry


def _covers(entry: ManifestEntry, limit: int | None) -> bool:
    return entry.limit is None or (limit is not None and limit <= entry.limit)


def _refuse_unfinished(entries: Iterable[ManifestEntry], digest: str, source: str) -> None:
    for entry in entries:
        if entry.source == source and entry.digest != digest and entry.status == "running":
            raise RefusedError(
                f"{source} has changed since run {entry.run_id} began on it, and that run is not finished. Put the "
                f"manifest back and run it to the end, or give that run up with --abandon {entry.run_id}; what it has "
                "embedded stays in the table either way"
            )
