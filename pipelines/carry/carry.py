"""A wave of rows carried: read, written again, and published in one commit, if need be again and again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from lance.fragment import FragmentMetadata

from operators.base.columns import ROW, SHARD
from operators.base.failpoints import failpoint
from pipelines.carry.rows import CarriedPiece, CarryPieces
from pipelines.scan.plain import plain_scan
from pipelines.table.errors import CommitFailedError
from pipelines.table.fenced_operations import by_fragment
from pipelines.table.fenced_table import FencedTable
from pipelines.table.positions import table_keys
from pipelines.table.table import Table
from pipelines.table.tasks import RunTasks, tasks_here

FROM_KEY, TO_KEY = "from_key", "to_key"
"""Columns of the values, int64 position keys: of the image whose rows are carried, and where they stand afterwards.
Where the two are equal the rows take the place of those that were there; where not, they come beside them."""

PIECE_BYTES, MOST_PIECE_ROWS = 64 << 20, 1 << 16
"""Of the rows that one task holds, which become one fragment."""
_ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True)
class Carry:
    """The outcome of one wave, in images."""

    carried: np.ndarray
    """Sorted position keys: where the rows stand now."""
    gone: int
    """Images whose rows another tool had deleted."""


@dataclass(frozen=True)
class _Places:
    """Rows of one version at the positions that were asked for."""

    keys: np.ndarray
    row_ids: np.ndarray
    addresses: np.ndarray


def carry_rows(fenced: FencedTable, table: Table, values: pa.Table, execute: RunTasks = tasks_here) -> Carry:
    """Carry the rows of one wave in one commit. `values` has `FROM_KEY`, `TO_KEY` and the columns with new values, a
    row for each image; its rows are in memory.

    A row that another tool changes between reading and commit is read again. Raises `FencedError`, `CommitFailedError`
    where storage stays away or others change the rows without end, `OSError`.
    """
    for _ in range(_ATTEMPTS):
        fenced.reload()
        found = _find(fenced.dataset, np.concatenate([values[FROM_KEY].to_numpy(), values[TO_KEY].to_numpy()]))
        wanted = values.filter(pa.array(_wanted(values, found)))
        gone = int((~np.isin(values[FROM_KEY].to_numpy(), found.keys)).sum())
        if not wanted.num_rows:
            return Carry(carried=np.zeros(0, np.int64), gone=gone)
        if _carried(fenced, table, wanted, found, execute):
            return Carry(carried=np.sort(wanted[TO_KEY].to_numpy()), gone=gone)
    raise CommitFailedError(
        f"{fenced.uri}: rows were changed by another tool each of {_ATTEMPTS} times that they were read to be written "
        "again; let it finish, and start the same command once more"
    )


def _find(dataset: Any, keys: np.ndarray) -> _Places:
    shards = np.unique(keys >> 32)
    where = f"`shard` IN ({', '.join(map(str, shards))})"
    parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64))]
    for batch in plain_scan(dataset, [SHARD.name, ROW.name], where, with_row_address=True, with_row_id=True):
        at = table_keys(batch)
        hit = np.isin(at, keys)
        parts.append((at[hit], batch["_rowid"].to_numpy()[hit], batch["_rowaddr"].to_numpy()[hit]))
    joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
    order = np.argsort(joined[0], kind="stable")
    return _Places(*(each[order] for each in joined))


def _wanted(values: pa.Table, found: _Places) -> np.ndarray:
    """(N,) bool: images that are there, but for copies that an earlier attempt, whose answer was lost, has made."""
    source, target = values[FROM_KEY].to_numpy(), values[TO_KEY].to_numpy()
    wanted: np.ndarray = np.isin(source, found.keys) & ((source == target) | ~np.isin(target, found.keys))
    return wanted


def _carried(fenced: FencedTable, table: Table, values: pa.Table, found: _Places, execute: RunTasks) -> bool:
    """One attempt; false where the rows were changed meanwhile."""
    dataset = fenced.dataset
    source, target = values[FROM_KEY].to_numpy(), values[TO_KEY].to_numpy()
    rows, images = _rows_of(found.keys, source)
    task = CarryPieces(table=table, version=dataset.version)
    pieces = list(_pieces(found.row_ids[rows], _with_positions(values, target).take(pa.array(images)), dataset.schema))
    fragments = [
        FragmentMetadata.from_json(json.dumps(each)) for text in execute(task, pieces) for each in json.loads(text)
    ]
    failpoint("refresh.carried")
    replaced = np.isin(found.keys, source[source == target])
    read = by_fragment([found.addresses[np.unique(rows)]])
    return fenced.exchange(dataset, read, by_fragment([found.addresses[replaced]]), fragments)


def _rows_of(keys: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(indices into the sorted `keys`, index of the image in `source` that each is for): all regions of each image."""
    first, last = np.searchsorted(keys, source, "left"), np.searchsorted(keys, source, "right")
    counts = last - first
    images = np.repeat(np.arange(len(source)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + within, images


def _with_positions(values: pa.Table, target: np.ndarray) -> pa.Table:
    shards = pa.array((target >> 32).astype(np.int32))
    rows = pa.array((target & 0xFFFFFFFF).astype(np.int32))
    plain = values.drop_columns([FROM_KEY, TO_KEY])
    return plain.append_column(SHARD, shards).append_column(ROW, rows)


def _pieces(row_ids: np.ndarray, values: pa.Table, schema: pa.Schema) -> Iterator[CarriedPiece]:
    most = int(min(MOST_PIECE_ROWS, max(1, PIECE_BYTES // _row_bytes(schema))))
    for start in range(0, len(row_ids), most):
        yield CarriedPiece(row_ids=row_ids[start : start + most], values=values.slice(start, most))


def _row_bytes(schema: pa.Schema) -> int:
    """About how much a row takes: vectors by their length, a list of them as eight, anything else as 64 bytes."""
    return sum(_bytes_of(field.type) for field in schema)


def _bytes_of(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind) and pa.types.is_primitive(kind.value_type):
        size: int = kind.list_size * kind.value_type.bit_width // 8
        return max(1, size)
    return 8 * _bytes_of(kind.value_type) if pa.types.is_list(kind) else 64
