"""Rows of a manifest in neither table, and why: taken down, held under another position, deleted, or never embedded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import ID
from operators.storage.stores import StorageOptions
from pipelines.audit.faults import Fault, about_names
from pipelines.audit.positions import TablePositions
from pipelines.audit.scan import BrokenFragments
from pipelines.ledger.past_positions import PastPositions
from pipelines.ledger.skip_ids import SkipIds
from pipelines.ledger.takedowns import Takedowns
from pipelines.reread.manifests import OpenedManifest
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work
from pipelines.table.table import Table

_READ_ROWS = 8192
_NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Rows of one manifest that its latest run was to cover, and that are in neither table; sorted keys."""

    taken_down: int
    skipped: int
    """Rows whose id has vectors at another position: what `--skip-existing` leaves out."""
    deleted: np.ndarray
    """Rows that were in the tables once: another tool has deleted them."""
    never: np.ndarray


def find_missing(
    opened: OpenedManifest,
    vectors: TablePositions,
    failures: TablePositions,
    *,
    table: Table,
    takedowns: Takedowns,
    storage: StorageOptions,
) -> Missing:
    """Explain the rows of an opened manifest that are not there. What is missing is read from the manifest once, and
    the table's ids once, where anything is. Raises `OSError` and `SourceError` where that fails."""
    absent = {shard: rows for shard, rows in _absent(opened, vectors, failures) if len(rows)}
    if not absent:
        return Missing(taken_down=0, skipped=0, deleted=_NOTHING, never=_NOTHING)
    entry = opened.entry
    recorded = takedowns.positions(entry.key)
    known = PastPositions(f"{table.names.runs}/positions/{entry.key}", "", entry.revision, table.storage).positions
    ids_down, left, ids = takedowns.known_ids(), list[np.ndarray](), list[pa.Array]()
    taken_down = 0
    for shard, rows in absent.items():
        for texts, keys in _ids_of(opened, shard, rows, storage):
            down = recorded.contains(keys)
            if ids_down is not None:
                down |= ids_down.contains(texts.to_pylist())
            taken_down += int(down.sum())
            left.append(keys[~down])
            ids.append(texts.filter(pa.array(~down)))
    keys, texts = np.concatenate([_NOTHING, *left]), pa.chunked_array([pa.array([], pa.string()), *ids])
    past = known.contains(keys)
    never, asked = keys[~past], texts.filter(pa.array(~past))
    elsewhere = _have_rows(asked, table) if len(never) else np.zeros(0, bool)
    return Missing(
        taken_down=taken_down,
        skipped=int(elsewhere.sum()),
        deleted=np.sort(keys[past]),
        never=np.sort(never[~elsewhere]),
    )


def _absent(
    opened: OpenedManifest, vectors: TablePositions, failures: TablePositions
) -> Iterator[tuple[int, np.ndarray]]:
    for shard, rows in opened.covered():
        yield shard, np.flatnonzero(~(vectors.seen.mask(shard, rows) | failures.seen.mask(shard, rows)))


def _ids_of(
    opened: OpenedManifest, shard: int, rows: np.ndarray, storage: StorageOptions
) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """(ids, keys) of rows of one shard, read from the manifest."""
    assert opened.manifest is not None
    found = next(each for each in opened.manifest.shards if opened.entry.first_shard + each.number == shard)
    wanted = np.zeros(found.num_rows, bool)
    wanted[rows] = True
    work = shard_work(found, shard, wanted)
    source = Source(columns=opened.manifest.columns, storage=storage).ids_only()
    for batch in source.read(work, _READ_ROWS) if work else ():
        keys = (np.int64(shard) << 32) | batch["row"].to_numpy().astype(np.int64)
        yield batch[ID.name].combine_chunks(), keys


def _have_rows(ids: pa.ChunkedArray, table: Table) -> np.ndarray:
    """(N,) bool: which ids have a row in the vector table. Every id of it is read; those that are asked for are held,
    16 bytes each."""
    held = SkipIds.from_columns(_rows_with(table.latest(), SkipIds.from_columns([ids])))
    return held.contains(ids.to_pylist())


def _rows_with(dataset: Any, asked: SkipIds) -> Iterator[pa.Array]:
    """The ids of the rows that have one of those asked for."""
    for batch in BrokenFragments().read(dataset, [ID.name]):
        there = asked.contains(batch[ID.name].to_pylist())
        if there.any():
            yield batch[ID.name].filter(pa.array(there))


def audit_takedowns(takedowns: Takedowns, datasets: Mapping[str, Any]) -> list[Fault]:
    """Rows of images that were taken down; of a deletion that was cut off the next run deletes them. Every id of the
    tables is read where anything was taken down."""
    asked, found = takedowns.known_ids(), list[Fault]()
    if asked is None or not takedowns.finished:
        return found
    for where, dataset in datasets.items():
        ids = [name for part in _rows_with(dataset, asked) for name in part.to_pylist()]
        found += about_names("taken_down", where, ids, "rows are of images that were taken down")
    return found
