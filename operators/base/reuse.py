"""Images with the same bytes are worked on once: all others get what came out for the first."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from operators.base.columns import REUSED, SHA256
from operators.base.rows import good_rows

MAX_BYTES = 64 * 1024 * 1024
"""What one worker keeps: 15,000 images with 768 dimensions of float32 each, 30,000 of float16."""
_ENTRY_BYTES = 300
"""Of Python objects for one image, beside its columns."""

WorkOnRows = Callable[[pa.Table], pa.Table]
ImageKey = bytes | tuple[bytes, str]


class KnownRow(NamedTuple):
    """Where an image's results stand."""

    table: pa.Table
    row: int


class KnownImages:
    """What work on images has given, by what decides it: their bytes (`sha256`), and the columns `decided_by` beside
    them, as boxes that a manifest gives. Thread-safe. The oldest are forgotten over `max_bytes`.

    Failures are not kept: another image with these bytes is tried for itself.
    """

    def __init__(self, decided_by: Sequence[str], max_bytes: int = MAX_BYTES) -> None:
        self._decided_by = tuple(decided_by)
        self._max_bytes = max_bytes
        self._rows: dict[ImageKey, KnownRow] = {}
        self._tables: deque[tuple[pa.Table, list[ImageKey], int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def through(self, block: pa.Table, work: WorkOnRows) -> pa.Table:
        """`work(block)`, and `reused`: true for rows whose results are copies. `work` gets the other rows alone.

        It may add and drop columns; those of the block that it leaves in place must come out as they were.
        """
        keys = _keys(block, self._decided_by)
        copies = self._known(keys)
        twins = _twins(keys, copies)
        if not copies and not twins:
            done = work(block)
            self._keep(block, done, keys)
            return _marked(done, 0)
        todo = np.array([row for row in range(len(keys)) if row not in copies and row not in twins], np.int64)
        done = work(block.take(todo))
        self._keep(block, done, [keys[row] for row in todo])
        at = {row: index for index, row in enumerate(todo.tolist())}
        good = good_rows(done).to_pylist()
        copies |= {row: KnownRow(done, at[first]) for row, first in twins.items() if good[at[first]]}
        rest = np.array([row for row, first in twins.items() if not good[at[first]]], np.int64)
        parts = [_marked(done, 0), _copied(block, done, copies)]
        if len(rest):
            parts.insert(1, _marked(work(block.take(rest)), 0))
        order = np.argsort(np.concatenate([todo, rest, np.array(list(copies), np.int64)]))
        return pa.concat_tables(parts).take(order)

    def _known(self, keys: Sequence[ImageKey | None]) -> dict[int, KnownRow]:
        with self._lock:
            return {row: self._rows[key] for row, key in enumerate(keys) if key is not None and key in self._rows}

    def _keep(self, block: pa.Table, done: pa.Table, keys: Sequence[ImageKey | None]) -> None:
        made = done.select([name for name in done.column_names if name not in block.column_names])
        kept = {
            key: KnownRow(made, row)
            for row, (key, good) in enumerate(zip(keys, good_rows(done).to_pylist(), strict=True))
            if key is not None and good
        }
        size = made.get_total_buffer_size() + _ENTRY_BYTES * len(kept)
        with self._lock:
            self._rows |= kept
            self._tables.append((made, list(kept), size))
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        table, keys, size = self._tables.popleft()
        self._bytes -= size
        for key in keys:
            if key in self._rows and self._rows[key].table is table:
                del self._rows[key]


def _keys(block: pa.Table, decided_by: Sequence[str]) -> list[ImageKey | None]:
    """What decides each row's results; None for a row that has failed."""
    good = good_rows(block).to_pylist()
    digests = [bytes.fromhex(digest) if digest else None for digest in block[SHA256.name].to_pylist()]
    if not decided_by:
        return [digest if is_good else None for digest, is_good in zip(digests, good, strict=True)]
    others = map(repr, block.select(decided_by).to_pylist())
    return [
        (digest, other) if digest and is_good else None
        for digest, other, is_good in zip(digests, others, good, strict=True)
    ]


def _twins(keys: Sequence[ImageKey | None], known: dict[int, KnownRow]) -> dict[int, int]:
    """Row -> the first row of the block with the same key, for rows that are not known and not the first."""
    first: dict[ImageKey, int] = {}
    twins = {}
    for row, key in enumerate(keys):
        if key is not None and row not in known and first.setdefault(key, row) != row:
            twins[row] = first[key]
    return twins


def _copied(block: pa.Table, done: pa.Table, copies: dict[int, KnownRow]) -> pa.Table:
    """The rows of `copies` in the columns of `done`: their own where the block has them, else copied."""
    rows = block.take(np.array(list(copies), np.int64))
    made = [name for name in done.column_names if name not in block.column_names]
    parts = [place.table.select(made).slice(place.row, 1) for place in copies.values()]
    results = pa.concat_tables(parts) if parts else done.select(made).slice(0, 0)
    values = [rows[name] if name in block.column_names else results[name] for name in done.column_names]
    return _marked(pa.Table.from_arrays(values, schema=done.schema), 1)


def _marked(table: pa.Table, reused: int) -> pa.Table:
    return table.append_column(REUSED, pa.array(np.full(table.num_rows, reused, np.int16)))
