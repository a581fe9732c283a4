"""All rows of both tables, counted by manifest: how many each lacks, and which rows belong to none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.base.counted import counted
from pipelines.ledger.entries import ManifestEntry, is_refreshed, read_entries
from pipelines.ledger.held_images import HeldImages, read_held
from pipelines.ledger.ledger import rows_by_shard
from pipelines.scan.plain import plain_scan
from pipelines.table.layout import layout_of
from pipelines.table.positions import PositionSet, describe_keys, table_keys

_SHOWN, _EXAMPLES = 20, 5
"""Shards and positions that are named in a message."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The rows of one manifest in the tables; in a table with a row per region, its images."""

    entry: ManifestEntry
    vectors: int
    failures: int
    incomplete: np.ndarray
    """Sorted position keys of images that lack some of their regions."""
    replaced: bool = False
    """Whether refreshes keep the table to its source, so that rows of other manifests stand for some of its own."""

    @property
    def missing(self) -> int:
        """Rows in neither table: not embedded yet, left out by `--skip-existing`, or deleted. Not those that a refresh
        has replaced."""
        if self.replaced and self.entry.status != "running":
            return 0
        return max(0, self.entry.covered - self.vectors - self.failures)

    @property
    def too_many(self) -> int:
        """Rows beyond those of the manifest: some position is there twice, or does not belong to it."""
        return max(0, self.vectors + self.failures - self.entry.rows)


@dataclass(frozen=True, kw_only=True)
class Strays:
    """Rows of one table at positions of no registered manifest."""

    uri: str
    rows: int
    shards: tuple[int, ...]
    """The first few shards."""
    examples: str
    """`(shard, row), …` of the first few."""

    def __str__(self) -> str:
        shards = ", ".join(map(str, self.shards))
        return (
            f"{self.uri}: {self.rows:,} rows stand at positions of no registered manifest: (shard, row) "
            f"{self.examples}. Another tool has added them, or has taken one of the two tables back to an earlier "
            "version. They are left as they are, and count for no manifest; if they are not wanted, delete them with "
            f'LanceDB: delete("`shard` IN ({shards})")'
        )


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """What both tables hold, by manifest."""

    images: int
    """Images in the vector table; in a table with a row per region, those with any region there."""
    manifests: tuple[Account, ...]
    strays: tuple[Strays, ...]

    def notices(self, about: ManifestEntry | None = None) -> list[str]:
        """Sentences for the user on the tables and on every manifest but `about`, which the run reports on itself."""
        found = [str(strays) for strays in self.strays]
        for account in self.manifests:
            if len(account.incomplete):
                found.append(_of_incomplete(account))
            # What its own run does about rows that are gone, the run says.
            if about is None or account.entry.digest != about.digest:
                found += _of_another(account)
        return found


def _of_another(account: Account) -> list[str]:
    source, found = account.entry.source, []
    if account.entry.status == "undone" and account.missing:
        found.append(
            f"{source}: was complete, and {account.missing:,} of its {account.entry.covered:,} rows are in neither "
            "table since one of the tables was taken back to an earlier version; embed it again to have them"
        )
    if account.too_many:
        found.append(
            f"{source}: the tables hold {account.too_many:,} rows more than it has; embed it again, which names them"
        )
    return found


def take_account(vectors: Any, failures: Any) -> Accounts:
    """Count one version of each table (Lance datasets). Reads the column `shard`, which takes next to no room, and in a
    table with a row per region the positions."""
    entries = read_entries(vectors.metadata, failures.metadata)
    regions = read_held(vectors) if layout_of(vectors.schema) == "rows" else HeldImages()
    counts = [_by_shard(regions) if regions.positions.count else rows_by_shard(vectors), rows_by_shard(failures)]
    within = [[_within(entry, held) for entry in entries] for held in counts]
    manifests = [
        Account(
            entry=entry,
            vectors=of_vectors,
            failures=of_failures,
            incomplete=_keys_within(entry, regions.incomplete),
            replaced=is_refreshed(entries, entry.source),
        )
        for entry, of_vectors, of_failures in zip(entries, *within, strict=True)
    ]
    strays = [_strays(dataset, held, entries) for dataset, held in zip((vectors, failures), counts, strict=True)]
    return Accounts(
        images=sum(counts[0].values()),
        manifests=tuple(manifests),
        strays=tuple(each for each in strays if each is not None),
    )


def _of_incomplete(account: Account) -> str:
    count = len(account.incomplete)
    whole = (
        "`pixlake audit` of the table with --repair --restore --yes embeds them again"
        if account.replaced
        else "embed the manifest with --deleted restore to have them whole, in place of what is left of them"
    )
    return (
        f"{account.entry.source}: {counted(count, 'image lacks', 'images lack')} some of their regions: (shard, row) "
        f"{describe_keys(account.incomplete)}. Another tool deleted those rows. The images count as there; {whole}"
    )


def _by_shard(held: HeldImages) -> Counter[int]:
    """Shard -> its images; one that is there twice counts twice."""
    found = Counter({int(keys[0] >> 32): len(keys) for keys in held.positions.by_shard()})
    found.update((held.repeated >> 32).tolist())
    return found


def _keys_within(entry: ManifestEntry, held: PositionSet) -> np.ndarray:
    found = [np.zeros(0, np.int64), *held.by_shard()]
    return np.concatenate([keys for keys in found if not len(keys) or _owns(entry, int(keys[0] >> 32))])


def _owns(entry: ManifestEntry, shard: int) -> bool:
    return 0 <= shard - entry.first_shard < entry.num_shards


def _within(entry: ManifestEntry, held: Mapping[int, int]) -> int:
    return sum(rows for shard, rows in held.items() if _owns(entry, shard))


def _strays(dataset: Any, held: Mapping[int, int], entries: Sequence[ManifestEntry]) -> Strays | None:
    known = [range(entry.first_shard, entry.first_shard + entry.num_shards) for entry in entries]
    shards = sorted(shard for shard in held if not any(shard in each for each in known))
    if not shards:
        return None
    where = f"`shard` IN ({', '.join(map(str, shards[:_SHOWN]))})"
    found = [table_keys(batch) for batch in plain_scan(dataset, ["shard", "row"], where, limit=_EXAMPLES)]
    rows = sum(held[shard] for shard in shards)
    keys = np.sort(np.concatenate(found))
    more = f" and {rows - len(keys):,} more" if rows > len(keys) else ""
    return Strays(
        uri=dataset.uri, rows=rows, shards=tuple(shards[:_SHOWN]), examples=describe_keys(keys[:_EXAMPLES]) + more
    )
