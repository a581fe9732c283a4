"""Which manifests feed a table: each registered in the metadata of both tables, with shard numbers of its own.

Two records, because another tool may take one table back to an earlier version, or write its metadata anew: what the
other still has is then known, and that the two differ tells that rows may be gone.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from operators.storage.redact import redact_uri
from pipelines.commits.committer import Committer
from pipelines.table.errors import RefusedError

_PREFIX = "pixlake.manifest."

RESERVED_SHARDS = 1 << 20
"""Shard numbers set aside for a manifest of which a limit has shown only the beginning: more of it may follow."""

_LAST_SHARD = (1 << 31) - 1
"""The column is an int32."""

Status = Literal["running", "complete", "abandoned", "undone"]
"""`undone`: complete once, and since then one of the tables has lost its record of that, and may have lost rows."""


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
    revision: int = 0
    """How often it was written since both tables have it: of two records the later one holds. 0 for one of a release
    that wrote it to the vector table alone."""
    content: str | None = None
    """Of its rows (`content_digest`), where it was read for that once it was complete."""
    registered: str = ""
    """Another one for each time that a manifest is registered; empty for those of earlier versions of Pixlake."""

    @property
    def covered(self) -> int:
        """Rows that the latest run was to cover."""
        return self.rows if self.limit is None else min(self.limit, self.rows)

    @property
    def is_new(self) -> bool:
        """Whether it was registered just now: nothing of it can have been in the tables before."""
        return bool(self.registered) and self.revision == 1

    @property
    def key(self) -> str:
        """What is kept of the manifest beside the table goes by it: shard numbers may be given out again, after a
        `restore` of LanceDB's that took the entry away."""
        return self.registered or f"{self.digest[:16]}-{self.first_shard}"


def read_entries(vectors: Mapping[str, str], failures: Mapping[str, str]) -> list[ManifestEntry]:
    """The manifests registered in the metadata of both tables, in the order of their shards."""
    ours, theirs = _stored(vectors), _stored(failures)
    entries = [_agreed(ours.get(digest), theirs.get(digest)) for digest in {**ours, **theirs}]
    return sorted(entries, key=lambda entry: entry.first_shard)


def _stored(metadata: Mapping[str, str]) -> dict[str, ManifestEntry]:
    entries = [ManifestEntry(**json.loads(v)) for k, v in metadata.items() if k.startswith(_PREFIX)]
    return {entry.digest: entry for entry in entries}


def _agreed(vectors: ManifestEntry | None, failures: ManifestEntry | None) -> ManifestEntry:
    """What holds of a manifest, from what each table's metadata has of it; one of the two at least."""
    if vectors == failures or (failures is None and vectors is not None and not vectors.revision):
        assert vectors is not None
        return vectors
    latest = max((each for each in (vectors, failures) if each is not None), key=lambda entry: entry.revision)
    return replace(latest, status="undone") if latest.status == "complete" else latest


def finished_entry(entries: Iterable[ManifestEntry], digest: str, limit: int | None) -> ManifestEntry | None:
    """The entry of a manifest that is complete as far as `limit`; None where there is work left."""
    for entry in entries:
        if entry.digest == digest and entry.status == "complete" and _covers(entry, limit):
            return entry
    return None


def running_entry(entries: Iterable[ManifestEntry], run_id: str, table: str) -> ManifestEntry:
    """The unfinished manifest whose latest run this is. Raises `RefusedError`, naming those there are."""
    running = [entry for entry in entries if entry.status == "running"]
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
        vectors = self._committer.metadata
        # What the failures table remembers of an earlier vector table says nothing of one that is new.
        return read_entries(vectors, vectors if self._committer.created else self._committer.failures_metadata)

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

        A new one gets the shard numbers after all others, and after those of any row in either table; if `whole` is
        false (a limit ended its normalisation), `RESERVED_SHARDS` of them, so that its rows keep their positions when
        more of it is embedded later. Raises `RefusedError` while an earlier state of the same source is unfinished, and
        if the manifest is now cut into other shards than when it was registered.
        """
        source = redact_uri(source)
        known = {entry.digest: entry for entry in self.entries()}
        finished = finished_entry(known.values(), digest, limit)
        if finished:
            return finished
        entry = known.get(digest)
        _refuse_unfinished(known.values(), digest, source)
        if entry is None:
            numbers = num_shards if whole else max(num_shards, RESERVED_SHARDS)
            first_shard, registered = self._free_shards(known.values(), numbers), uuid.uuid4().hex[:16]
        else:
            self._check_cut(entry, num_shards, rows, whole)
            first_shard, numbers, registered = entry.first_shard, entry.num_shards, entry.registered
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
                registered=registered,
                content=entry.content if entry is not None else None,
            )
        )

    def complete(self, entry: ManifestEntry, content: str | None = None) -> ManifestEntry:
        """Mark the manifest as done as far as its limit; with the digest of its rows, where all are."""
        return self._put(replace(entry, status="complete", content=content or entry.content))

    def abandon(self, run_id: str) -> ManifestEntry:
        """Give an unfinished manifest up, so that another state of its source can be embedded. Its rows stay.

        Raises `RefusedError` if no unfinished manifest has this run as its latest.
        """
        entry = running_entry(self.entries(), run_id, self._committer.names.vectors)
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

    def _free_shards(self, known: Iterable[ManifestEntry], numbers: int) -> int:
        """The first of so many shard numbers that no manifest has had, and no row of either table has."""
        registered = max((entry.first_shard + entry.num_shards for entry in known), default=0)
        first = max(registered, self._committer.last_shard() + 1)
        if first + numbers - 1 > _LAST_SHARD:
            raise RefusedError(
                f"{self._committer.names.vectors}: no shard numbers are left: {numbers:,} are wanted, and a row with "
                f"shard {first - 1:,} is there already; another tool has put it there. Delete that row"
            )
        return first

    def _put(self, entry: ManifestEntry) -> ManifestEntry:
        """Both tables get it, and whatever one of them lacks of the others."""
        known = {each.digest: each for each in self.entries()}
        before = known.get(entry.digest)
        entry = replace(entry, revision=1 + (before.revision if before else 0))
        records = {_PREFIX + each.digest: json.dumps(asdict(each)) for each in (known | {entry.digest: entry}).values()}
        self._committer.set_records(_PREFIX, records)
        return entry


def _covers(entry: ManifestEntry, limit: int | None) -> bool:
    return entry.limit is None or (limit is not None and limit <= entry.limit)


def _refuse_unfinished(entries: Iterable[ManifestEntry], digest: str, source: str) -> None:
    for entry in entries:
        if entry.source == source and entry.digest != digest and entry.status == "running":
            raise RefusedError(
                f"{source}, or which of its columns are kept, has changed since run {entry.run_id} began on it, and "
                "that run is not finished. Put it back and run it to the end, or give that run up with --abandon "
                f"{entry.run_id}; what it has embedded stays in the table either way"
            )
