"""What has come to a table between two of its versions, known by positions and by the bytes of the images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from operators.base.columns import POSITION_FIELDS, SHA256
from operators.base.errors import UserError
from pipelines.drift.side import live_mask, mark_columns, taken
from pipelines.scan.plain import plain_scan
from pipelines.table.positions import PositionSet, table_keys

_POSITION = [field.name for field in POSITION_FIELDS]


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """The rows of the later version that the earlier one did not have."""

    places: np.ndarray
    """(N,) int64, sorted: rows of images whose bytes were nowhere in the earlier version, by their number in the later
    one."""
    images: int
    """Images that these rows are of."""
    carried: int
    """Further rows at positions that the earlier version did not have, with bytes that it had: images moved, touched,
    copied."""
    left: int
    """Images of the earlier version whose position is not in the later one, or is marked as deleted there: deleted,
    replaced by another version of theirs, or carried."""


def find_arrivals(before: Any, after: Any) -> Arrivals:
    """Compare two versions, `lance.LanceDataset`s. Holds a bit for each position and 16 bytes for each row that came.

    Raises `UserError` for a table without positions, which Pixlake did not make.
    """
    for dataset in (before, after):
        lacking = [name for name in _POSITION if name not in dataset.schema.names]
        if lacking:
            raise UserError(f"{dataset.uri}: has no column {lacking[0]}, by which Pixlake tells what came when")
    there, known_live, still = PositionSet(), PositionSet(), PositionSet()
    for keys, live, _ in _positions(before):
        there.add(keys)
        known_live.add(keys[live])
    came = [np.zeros((2, 0), np.int64)]
    for keys, live, start in _positions(after):
        still.add(keys[live])
        at = np.flatnonzero(live & ~there.contains(keys))
        came.append(np.stack([start + at, keys[at]]))
    places, positions = np.concatenate(came, axis=1)
    new = _new_bytes(before, after, places)
    return Arrivals(
        places=places[new],
        images=len(np.unique(positions[new])),
        carried=int((~new).sum()),
        left=known_live.minus(still).count,
    )


def _positions(dataset: Any) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """(position keys (N,) int64, rows not marked as deleted (N,) bool, number of the first row) of batches in
    order."""
    start = 0
    for batch in plain_scan(dataset, [*_POSITION, *mark_columns(dataset.schema)]):
        yield table_keys(batch), live_mask(batch), start
        start += batch.num_rows


def _new_bytes(before: Any, after: Any, places: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the rows at `places` have bytes that no row of the earlier version has; all of those whose
    sha256 is not recorded."""
    if not len(places) or not all(SHA256.name in each.schema.names for each in (before, after)):
        return np.ones(len(places), bool)
    hashes = np.concatenate([_hashes(rows[SHA256.name]) for rows in taken(after, places, [SHA256.name])])
    ordered = np.unique(hashes)
    held = np.zeros(len(ordered), bool)
    for batch in plain_scan(before, [SHA256.name]):
        there = _hashes(batch[SHA256.name])
        at = np.minimum(np.searchsorted(ordered, there), len(ordered) - 1)
        held[at[ordered[at] == there]] = True
    new: np.ndarray = ~held[np.searchsorted(ordered, hashes)] | (hashes == _NOBODY)
    return new


_NOBODY = np.uint64(0)


def _hashes(sha256: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(N,) uint64, 0 for null."""
    values = sha256.to_pylist()
    return np.array([xxhash.xxh3_64_intdigest(each.encode()) if each else 0 for each in values], np.uint64)
