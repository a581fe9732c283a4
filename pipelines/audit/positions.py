"""Which positions both tables hold: each manifest row once, in one of the two, and none that no manifest has."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import REGION
from pipelines.audit.faults import Fault, about_rows, places
from pipelines.audit.scan import BrokenFragments
from pipelines.audit.seen_rows import SeenRows
from pipelines.table.layout import layout_of

_INDEX = f"{REGION.name}.index"
_MOST_REGIONS = 4096
"""Regions of an image that are told apart; a row with a higher index, or none, belongs to no image of ours."""


@dataclass(frozen=True)
class TablePositions:
    """The positions of one table."""

    seen: SeenRows
    """Rows of manifests; in a table with a row per region, images with any region."""
    repeated: np.ndarray
    """Sorted keys (`shard << 32 | row`) that are there more than once; of regions, with the same region twice."""
    incomplete: np.ndarray
    """Sorted keys of images that have a region and lack one before it."""
    strays: Counter[int] = field(default_factory=Counter)
    """Shard -> rows that belong to no row of a manifest."""
    examples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Keys of the first few of these."""


def read_table(dataset: Any, bounds: Mapping[int, int], broken: BrokenFragments) -> TablePositions:
    """Read one table (a Lance dataset). `bounds`: shard -> rows that it has at most, of every registered
    manifest."""
    regions = layout_of(dataset.schema) == "rows"
    images = SeenRows()
    by_index: defaultdict[int, SeenRows] = defaultdict(SeenRows)
    repeated, strays, examples = [np.zeros(0, np.int64)], Counter[int](), np.zeros(0, np.int64)
    for shard, rows, indices in _by_shard(dataset, regions, broken):
        inside = (rows >= 0) & (rows < bounds.get(shard, 0)) & (indices >= 0) & (indices < _MOST_REGIONS)
        if not inside.all():
            strays[shard] += int((~inside).sum())
            examples = np.concatenate([examples, _keys(shard, rows[~inside][: 5 - len(examples)])])
        rows, indices = rows[inside], indices[inside]
        if not regions:
            repeated.append(_keys(shard, images.add(shard, rows)))
            continue
        images.add(shard, rows)
        for index in np.unique(indices).tolist():
            repeated.append(_keys(shard, by_index[index].add(shard, rows[indices == index])))
    return TablePositions(images, np.unique(np.concatenate(repeated)), _incomplete(by_index), strays, examples)


def _by_shard(dataset: Any, regions: bool, broken: BrokenFragments) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(shard, rows, region indices) of each shard in each batch; without regions every index is 0."""
    for batch in broken.read(dataset, ["shard", "row", *([_INDEX] if regions else [])]):
        shards, rows = (_numbers(batch[name]) for name in ("shard", "row"))
        indices = _numbers(batch.column(2)) if regions else np.zeros(len(rows), np.int64)
        for shard in np.unique(shards).tolist():
            mine = shards == shard
            yield shard, rows[mine], indices[mine]


def _numbers(column: pa.Array) -> np.ndarray:
    """(N,) int64, -1 for null, which another tool may have written."""
    numbers: np.ndarray = pc.fill_null(column.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return numbers


def _keys(shard: int, rows: np.ndarray) -> np.ndarray:
    keys: np.ndarray = (np.int64(shard) << 32) | rows.astype(np.int64)
    return keys


def _incomplete(by_index: Mapping[int, SeenRows]) -> np.ndarray:
    """Sorted keys of images with a region of which one before it is not there."""
    found, nothing = [np.zeros(0, np.int64)], SeenRows()
    for shard in sorted({shard for seen in by_index.values() for shard in seen.shards}):
        rows = max(seen.reach(shard) for seen in by_index.values())
        lacking, above = np.zeros(rows, bool), np.zeros(rows, bool)
        for index in range(max(by_index), -1, -1):
            there = by_index.get(index, nothing).mask(shard, rows)
            lacking |= above & ~there
            above |= there
        found.append(_keys(shard, np.flatnonzero(lacking)))
    return np.concatenate(found)


def in_both(vectors: TablePositions, failures: TablePositions) -> np.ndarray:
    """Sorted keys that stand in both tables."""
    found = [np.zeros(0, np.int64)]
    for shard in failures.seen.shards:
        rows = min(vectors.seen.reach(shard), failures.seen.reach(shard))
        found.append(_keys(shard, np.flatnonzero(vectors.seen.mask(shard, rows) & failures.seen.mask(shard, rows))))
    return np.concatenate(found)


def faults_of(where: str, held: TablePositions) -> list[Fault]:
    """What is wrong within one table."""
    faults = about_rows("repeated", where, held.repeated, "rows of manifests stand in the table more than once")
    if held.strays:
        rows, shards = sum(held.strays.values()), ", ".join(str(each) for each in sorted(held.strays)[:20])
        faults.append(
            Fault(
                kind="stray",
                where=where,
                count=rows,
                what=f"{rows:,} rows belong to no row of a manifest (of shards {shards}): another tool has added them, "
                "or has taken one of the tables back to an earlier version",
                examples=places(held.examples),
            )
        )
    return [*faults, *about_rows("incomplete_regions", where, held.incomplete, "images lack some of their regions")]
