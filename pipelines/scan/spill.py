"""Rows set aside on local disk by the hash of a text, and read back part by part: equal texts lie in one part."""

import os
from collections.abc import Iterator

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
    """One side of a join. Write all of it, `close` it, then read parts in any order."""

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
        self._writer = pa.ipc.new_file(self._path, schema, options=_OPTIONS)

    def add(self, rows: pa.Table) -> None:
        """Add rows; holds 65,536 of them, or 512 for each part."""
        if not rows.num_rows:
            return
        self._waiting.append(rows)
        self._num_waiting += rows.num_rows
        self.rows += rows.num_rows
        if self._num_waiting >= max(_BATCH_ROWS, _PIECE_ROWS * self._parts):
            self._flush()

    def close(self) -> None:
        """Write what is held."""
        self._flush()
        self._writer.close()
        # Opened once: a file of many pieces has a long table of them at its end. Not mapped, since pages that were read
        # would count as memory of this process.
        self._reader = pa.ipc.open_file(pa.OSFile(self._path))

    def read(self, part: int) -> pa.Table:
        """The rows of one part, in the order in which they were added."""
        batches = [self._reader.get_batch(number) for number in self._pieces[part]]
        return pa.Table.from_batches(batches, self._schema)

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting).select(self._schema.names).combine_chunks()
        self._waiting, self._num_waiting = [], 0
        for part, piece in _cut(rows, self._key, self._parts):
            for batch in piece.to_batches():
                self._writer.write_batch(batch)
                self._pieces[part].append(self._written)
                self._written += 1


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
