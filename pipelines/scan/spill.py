"""Rows set aside by the hash of a text, and read back part by part: equal texts lie in one part.

They lie on local disk, but for the few of a small join.
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import xxhash

ROWS_PER_PART = 131_072
MOST_PARTS = 512
"""Beyond 67 million rows parts grow: each batch is cut into so many pieces, and small pieces cost more than they
hold."""
_BATCH_ROWS, _PIECE_ROWS = 65_536, 512
"""Rows that are held before they are cut: so many, or as many as make pieces of that size."""
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


def parts_for(rows: int) -> int:
    """Into how many parts to cut rows so that one is small in memory."""
    return min(MOST_PARTS, max(1, -(-rows // ROWS_PER_PART)))


class Spill:
    """One side of a join. Add all of it, then read it beside the others with `side_by_side`."""

    def __init__(self, folder: str, name: str, schema: pa.Schema, key: str, parts: int) -> None:
        """Rows are cut by the text column `key`, which has no nulls."""
        self.rows = 0
        self._schema = schema
        self._key = key
        self._parts = parts
        self._path = os.path.join(folder, f"{name}.spill")
        self._pieces: list[list[int]] = [[] for _ in range(parts)]
        self._written = 0
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._writer: pa.RecordBatchFileWriter | None = None

    @property
    def is_small(self) -> bool:
        """Whether all rows are in memory, and none is on disk."""
        return self._writer is None

    def add(self, rows: pa.Table) -> None:
        """Add rows; holds 65,536 of them, or 512 for each part."""
        if not rows.num_rows:
            return
        self._waiting.append(rows)
        self._num_waiting += rows.num_rows
        self.rows += rows.num_rows
        if self._num_waiting >= max(_BATCH_ROWS, _PIECE_ROWS * self._parts):
            self._flush()

    def all_rows(self) -> pa.Table:
        """The rows of a small side, in the order in which they were added."""
        return pa.concat_tables(
            [pa.Table.from_batches([], self._schema), *(t.select(self._schema.names) for t in self._waiting)]
        )

    def close(self) -> None:
        """Write what is held; then parts can be read."""
        writer = self._flush()
        writer.close()
        # Opened once: a file of many pieces has a long table of them at its end. Not mapped, since pages that were read
        # would count as memory of this process.
        self._reader = pa.ipc.open_file(pa.OSFile(self._path))

    def read(self, part: int) -> pa.Table:
        """The rows of one part, in the order in which they were added."""
        batches = [self._reader.get_batch(number) for number in self._pieces[part]]
        return pa.Table.from_batches(batches, self._schema)

    def _flush(self) -> pa.RecordBatchFileWriter:
        if self._writer is None:
            self._writer = pa.ipc.new_file(self._path, self._schema, options=_OPTIONS)
        if not self._waiting:
            return self._writer
        rows = pa.concat_tables(self._waiting).select(self._schema.names).combine_chunks()
        self._waiting, self._num_waiting = [], 0
        for part, piece in _cut(rows, self._key, self._parts):
            for batch in piece.to_batches():
                self._writer.write_batch(batch)
                self._pieces[part].append(self._written)
                self._written += 1
        return self._writer


def parts_read(sides: Sequence[Spill], parts: int) -> int:
    """In how many parts sides that are to be cut into `parts` are read: small ones at once, which takes a tenth of the
    time of eight small parts."""
    return 1 if all(side.is_small for side in sides) else parts


def side_by_side(sides: Sequence[Spill], parts: int) -> Iterator[tuple[pa.Table, ...]]:
    """The rows of all sides, part after part of `parts_read`."""
    if all(side.is_small for side in sides):
        yield tuple(side.all_rows() for side in sides)
        return
    for side in sides:
        side.close()
    for part in range(parts):
        yield tuple(side.read(part) for side in sides)


def part_numbers(texts: pa.Array | pa.ChunkedArray, parts: int) -> np.ndarray:
    """(N,) int64: the part of each text."""
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, texts.cast(pa.binary()).to_pylist()), np.uint64, len(texts))
    return (hashes % np.uint64(parts)).astype(np.int64)


def _cut(rows: pa.Table, key: str, parts: int) -> Iterator[tuple[int, pa.Table]]:
    if parts == 1:
        yield 0, rows
        return
    numbers = part_numbers(rows[key], parts)
    ordered = rows.take(pa.array(np.argsort(numbers, kind="stable")))
    ends = np.cumsum(np.bincount(numbers, minlength=parts))
    for part, end in enumerate(ends):
        start = int(ends[part - 1]) if part else 0
        if end > start:
            yield part, ordered.slice(start, int(end) - start)
