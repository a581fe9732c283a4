"""The positions that a table holds. In one with a row per region every region is looked at, and an image counts as
there while any of its regions is. Another tool may delete some of them, and such an image must not be embedded beside
what is left of it."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import REGION
from pipelines.scan.plain import plain_scan
from pipelines.table.layout import layout_of
from pipelines.table.positions import PositionSet, table_keys

_KEYS_AT_ONCE = 1 << 20
"""Keys that are gathered, 8 MB of them, before they become bits: a table of many small fragments gives many small
batches."""

_INDEX = f"{REGION.name}.index"
_NO_REGION = -1
"""Region index of a row that another tool has written without a region."""


@dataclass(frozen=True)
class HeldImages:
    """The images of one Lance table, or of some of its shards."""

    positions: PositionSet = field(default_factory=PositionSet)
    incomplete: PositionSet = field(default_factory=PositionSet)
    """Images that have a region but lack one before it. An image that lacks only its last regions cannot be told from
    one that never had them."""
    repeated: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Sorted keys of positions, or of single regions of an image, that are there more than once."""


def read_held(dataset: Any, where: str | None = None) -> HeldImages:
    """Read the images of the rows that match the SQL of `where`, streamed."""
    regions = layout_of(dataset.schema) == "rows"
    by_index: defaultdict[int, PositionSet] = defaultdict(PositionSet)
    repeated = [np.zeros(0, np.int64)]
    for keys, indices in _gathered(dataset, where, regions):
        # Mostly few: the regions of an image.
        for index in np.unique(indices).tolist():
            repeated.append(by_index[index].add(keys[indices == index]))
    found = np.unique(np.concatenate(repeated))
    if not regions:
        return HeldImages(by_index[0], PositionSet(), found)
    return HeldImages(PositionSet().union(*by_index.values()), _incomplete(by_index), found)


def _gathered(dataset: Any, where: str | None, regions: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(position keys, region indices) of many rows at a time; without regions every index is 0."""
    columns = ["shard", "row", *([_INDEX] if regions else [])]
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    rows = 0
    for batch in plain_scan(dataset, columns, where, in_order=False):
        waiting.append((table_keys(batch), _indices(batch) if regions else np.zeros(batch.num_rows, np.int64)))
        rows += batch.num_rows
        if rows >= _KEYS_AT_ONCE:
            yield _joined(waiting)
            waiting, rows = [], 0
    if waiting:
        yield _joined(waiting)


def _indices(batch: pa.RecordBatch) -> np.ndarray:
    indices: np.ndarray = pc.fill_null(batch[_INDEX], _NO_REGION).to_numpy(zero_copy_only=False)
    return indices


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    keys, indices = zip(*parts, strict=True)
    return np.concatenate(keys), np.concatenate(indices)


def _incomplete(by_index: dict[int, PositionSet]) -> PositionSet:
    """Images that lack a region below one that they have: from the highest index down, whatever has a higher region
    must have this one."""
    incomplete, above = PositionSet(), by_index.get(_NO_REGION, PositionSet())
    numbers = sorted(by_index.keys() | {0}, reverse=True)
    for at, index in enumerate(number for number in numbers if number > _NO_REGION):
        if at and numbers[at - 1] != index + 1:
            # A number that no image has any more.
            incomplete = incomplete.union(above)
        incomplete = incomplete.union(above.minus(by_index.get(index, PositionSet())))
        above = above.union(by_index.get(index, PositionSet()))
    return incomplete
