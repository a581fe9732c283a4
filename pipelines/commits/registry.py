"""A manifest registered for a table, taken up, finished or abandoned, by whoever holds the latest term on it."""

import json
import uuid
from collections.abc import Iterable
from dataclasses import asdict, replace

from operators.storage.redact import redact_uri
from pipelines.commits.committer import Committer
from pipelines.ledger.entries import ENTRY_PREFIX, ManifestEntry, finished_entry, read_entries, running_entry
from pipelines.table.errors import RefusedError

RESERVED_SHARDS = 1 << 20
"""Shard numbers set aside for a manifest that a limit has cut off: more of it may follow."""


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
        delta: bool = False,
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
                delta=delta,
            )
        )

    def complete(self, entry: ManifestEntry, content: str | None = None) -> ManifestEntry:
        """Mark the manifest as done as far as its limit; `content` is the digest of its rows, where all are done."""
        return self._put(replace(entry, status="complete", content=content or entry.content))

    def abandon(self, run_id: str) -> ManifestEntry:
        """Give an unfinished manifest up, so that another state of its source can be embedded. Its rows stay in the
        tables.

        Raises `RefusedError` if no unfinished manifest has this run as its latest.
        """
        entry = running_entry(self.entries(), run_id, self._committer.names.vectors)
        return self._put(replace(entry, status="abandoned"))

    def _check_cut(self, entry: ManifestEntry, num_shards: int, rows: int, whole: bool) -> None:
        """Raises `RefusedError` where this cut would give rows other positions than those in the table."""
        reserved = entry.num_shards >= RESERVED_SHARDS
        fits = num_shards <= entry.num_shards if reserved or not whole else num_shards == entry.num_shards
        if not fits or (whole and entry.whole and rows != entry.rows):
            raise RefusedError(
                f"{self._committer.names.vectors}: {entry.source} was registered as {entry.num_shards} shards of "
                f"{entry.rows} rows and is now cut into {num_shards} of {rows}; use the shard settings of run "
                f"{entry.run_id}"
            )

    def _free_shards(self, known: Iterable[ManifestEntry], numbers: int) -> int:
        """The first of `numbers` consecutive shard numbers that no manifest has had and no row of either table has."""
        registered = max((entry.first_shard + entry.num_shards for entry in known), default=0)
        first = max(registered, self._committer.last_shard() + 1)
        if first + numbers - 1 > _LAST_SHARD:
            raise RefusedError(
                f"{self._committer.names.vectors}: no shard numbers are left: {numbers:,} are wanted, and a row with "
                f"shard {first - 1:,} is there already; another tool has put it there. Delete that row"
            )
        return first

    def _put(self, entry: ManifestEntry) -> ManifestEntry:
        """Write the entry, and all others that are known, into both tables: one of them may lack some."""
        known = {each.digest: each for each in self.entries()}
        before = known.get(entry.digest)
        entry = replace(entry, revision=1 + (before.revision if before else 0))
        records = {
            ENTRY_PREFIX + each.digest: json.dumps(asdict(each)) for each in (known | {entry.digest: entry}).values()
        }
        self._committer.set_records(ENTRY_PREFIX, records)
        return entry


_LAST_SHARD = (1 << 31) - 1
"""The highest shard number: the column is an int32."""


def _refuse_unfinished(entries: Iterable[ManifestEntry], digest: str, source: str) -> None:
    for entry in entries:
        if entry.source == source and entry.digest != digest and entry.status == "running":
            if entry.delta:
                raise RefusedError(
                    f"{source}: refresh {entry.run_id} of it is not finished; `pixlake refresh` brings the table to "
                    "what the source is now"
                )
            raise RefusedError(
                f"{source}, or which of its columns are kept, has changed since run {entry.run_id} began on it, and "
                "that run is not finished. Put it back and run it to the end, or give that run up with --abandon "
                f"{entry.run_id}; what it has embedded stays in the table either way"
            )
