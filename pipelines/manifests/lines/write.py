"""Manifests of lines written as Parquet parts: several at once, and after a kill only those that are missing.

A part is a pure function of the files and of where its first row stands in them. Its object appears whole or not at
all, and only after the files it was read from have been seen to be the ones of the digest; so a part that is there is
right, whoever wrote it, and two drivers in one folder do each other no harm.
"""

import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, NamedTuple, cast

import obstore
import pyarrow as pa
import pyarrow.parquet as pq

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, object_store
from pipelines.manifests.files import SourceFile, file_info
from pipelines.manifests.lines.blocks import Position
from pipelines.manifests.lines.find import find_rows
from pipelines.manifests.lines.found import FoundRows
from pipelines.manifests.lines.tables import RowsTable
from pipelines.manifests.manifest import OnRows, SourceConfig, SourceError
from pipelines.manifests.parts import ROW_GROUP_ROWS, normalized_schema, part_name

_REACHED = "reached.json"
_FORMAT = 1
_MOST_THREADS = 8
_HELD_BYTES = 32 << 20
"""Of rows that are found and wait to be read; more are read and put into the part's file at once."""
_SPOOLED_BYTES = 32 << 20
"""Of a part's file in memory; a larger one is on disk until it is published."""
_NOTED_S = 1.0


@dataclass(frozen=True, kw_only=True)
class LinesSource:
    """Manifests of lines, and what of them goes into the parts."""

    files: Sequence[SourceFile]
    kind: str
    config: SourceConfig
    in_path: Sequence[str]
    """Kept columns that the folders of the files say."""
    storage: StorageOptions


class Written(NamedTuple):
    num_rows: int
    complete: bool
    """Whether that was all rows."""


class Cursor(NamedTuple):
    """Where a row stands: number of the file, and `Position` in it."""

    file: int = 0
    offset: int = 0
    line: int = 1


class _WholeParts(NamedTuple):
    parts: int = 0
    """How many are there without a gap."""
    next: Cursor = Cursor()
    """The first row behind them."""


def write_lines_parts(source: LinesSource, folder: str, progress: OnRows | None) -> Written:
    """Write the parts that are not in the folder. With a limit, the part that holds the last row is the last.

    Every part but the last has `rows_per_shard` rows. Raises `SourceError` where a file is unreadable as a whole, or is
    replaced meanwhile.
    """
    per_part, limit = source.config.rows_per_shard, source.config.limit
    max_parts = None if limit is None else -(-limit // per_part)
    done = _read_whole_parts(folder, source.storage)
    if max_parts is not None and done.parts > max_parts:
        done = _WholeParts()
    there = _parts_there(folder, source.storage)
    writer = _PartsWriter(source, folder, done, progress)
    try:
        for part in _cut(_found(source, done.next), source, done.parts):
            if max_parts is not None and part.number >= max_parts:
                return Written(writer.finish(), complete=False)
            writer.take(part, is_there=part_name(part.number) in there)
        return Written(writer.finish(), complete=True)
    finally:
        writer.stop()


class _Piece(NamedTuple):
    file: int
    table: RowsTable
    rows: FoundRows


def _found(source: LinesSource, start: Cursor) -> Iterator[_Piece]:
    in_rows = tuple(name for name in source.config.keep if name not in source.in_path)
    config = source.config.model_copy(update={"keep": in_rows})
    for number in range(start.file, len(source.files)):
        at = Position(*start[1:]) if number == start.file else Position()
        table = None
        for file, rows in find_rows(source.files[number].uri, source.kind, config, source.storage, at):
            table = table or RowsTable(file, source.config.keep)
            if len(rows):
                yield _Piece(number, table, rows)


@dataclass
class _GrowingPart:
    number: int
    schema: pa.Schema
    pieces: list[_Piece] = field(default_factory=list)
    num_rows: int = 0
    next: Cursor = field(default_factory=Cursor)
    files: set[int] = field(default_factory=set)
    held_bytes: int = 0
    file: "_PartFile | None" = None

    def add(self, piece: _Piece) -> None:
        self.pieces.append(piece)
        self.num_rows += len(piece.rows)
        self.next = Cursor(piece.file, *piece.rows.after)
        self.files.add(piece.file)
        self.held_bytes += piece.rows.size
        if self.held_bytes > _HELD_BYTES:
            self.read()

    def read(self) -> "_PartFile":
        """What is held goes into the part's file."""
        self.file = self.file or _PartFile(self.schema)
        for piece in self.pieces:
            self.file.add(piece.table.read(piece.rows))
        self.pieces, self.held_bytes = [], 0
        return self.file


def _cut(pieces: Iterator[_Piece], source: LinesSource, number: int) -> Iterator[_GrowingPart]:
    per_part, schema = source.config.rows_per_shard, normalized_schema(source.config)
    part = _GrowingPart(number, schema)
    for piece in pieces:
        first = 0
        while first < len(piece.rows):
            rows = piece.rows.slice(first, per_part - part.num_rows)
            part.add(piece._replace(rows=rows))
            first += len(rows)
            if part.num_rows == per_part:
                yield part
                part = _GrowingPart(part.number + 1, schema)
    if part.num_rows:
        yield part


class _PartFile:
    """Parquet with row groups of 65,536 rows. At most one of them is held, beside what is compressed."""

    def __init__(self, schema: pa.Schema) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES)  # noqa: SIM115 - closed when published
        # URIs and ids differ from row to row: to look for a dictionary of them took a third of the time of writing.
        repeated = [name for name in schema.names if name not in ("uri", "id")]
        self._writer = pq.ParquetWriter(self._file, schema, compression="zstd", use_dictionary=repeated)
        self._held: list[pa.Table] = []
        self._num_held = 0

    def add(self, table: pa.Table) -> None:
        self._held.append(table)
        self._num_held += table.num_rows
        while self._num_held >= ROW_GROUP_ROWS:
            self._write(ROW_GROUP_ROWS)

    def publish(self, uri: str, storage: StorageOptions) -> None:
        if self._num_held:
            self._write(self._num_held)
        self._writer.close()
        self._file.seek(0)
        store, path = object_store(uri, storage)
        with self._file:
            obstore.put(store, path, cast(IO[bytes], self._file))

    def _write(self, count: int) -> None:
        joined = pa.concat_tables(self._held)
        self._writer.write_table(joined.slice(0, count), row_group_size=ROW_GROUP_ROWS)
        rest = joined.slice(count)
        self._held, self._num_held = ([rest] if rest.num_rows else []), rest.num_rows


class _PartsWriter:
    """Reads and writes parts in threads: pyarrow holds no lock of Python's while it does. Notes how far they go without
    a gap."""

    def __init__(self, source: LinesSource, folder: str, done: _WholeParts, progress: OnRows | None) -> None:
        self._source, self._folder = source, folder
        self._done, self._noted_at = done, time.monotonic()
        self._rows = done.parts * source.config.rows_per_shard
        self._progress = progress
        num_threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._threads = ThreadPoolExecutor(num_threads)
        self._most_waiting = num_threads + 1
        self._waiting: deque[tuple[_GrowingPart, Future[None]]] = deque()

    def take(self, part: _GrowingPart, *, is_there: bool) -> None:
        if is_there:
            part.pieces = []
        self._waiting.append((part, self._threads.submit(self._write, part, is_there)))
        while len(self._waiting) > self._most_waiting:
            self._settle()

    def finish(self) -> int:
        """The number of rows in all parts."""
        while self._waiting:
            self._settle()
        self._note()
        return self._rows

    def stop(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _write(self, part: _GrowingPart, is_there: bool) -> None:
        if is_there:
            return
        file = part.read()
        self._check_unchanged(part.files)
        file.publish(f"{self._folder}/{part_name(part.number)}", self._source.storage)

    def _check_unchanged(self, numbers: set[int]) -> None:
        for number in sorted(numbers):
            file = self._source.files[number]
            if file_info(file.uri, self._source.storage).version != file.version:
                raise SourceError(f"{redact_uri(file.uri)} was replaced while it was read; start the run again")

    def _settle(self) -> None:
        part, written = self._waiting.popleft()
        written.result()
        self._rows += part.num_rows
        if part.num_rows == self._source.config.rows_per_shard:
            self._done = _WholeParts(part.number + 1, part.next)
        if self._progress is not None:
            self._progress(self._rows)
        if time.monotonic() - self._noted_at > _NOTED_S:
            self._note()

    def _note(self) -> None:
        self._noted_at = time.monotonic()
        noted = {"format": _FORMAT, "parts": self._done.parts, "next": self._done.next._asdict()}
        store, path = object_store(f"{self._folder}/{_REACHED}", self._source.storage)
        obstore.put(store, path, json.dumps(noted).encode())


def _read_whole_parts(folder: str, storage: StorageOptions) -> _WholeParts:
    store, path = object_store(f"{folder}/{_REACHED}", storage)
    try:
        noted = json.loads(bytes(obstore.get(store, path).bytes()))
    except FileNotFoundError:
        return _WholeParts()
    return _WholeParts(noted["parts"], Cursor(**noted["next"])) if noted["format"] == _FORMAT else _WholeParts()


def _parts_there(folder: str, storage: StorageOptions) -> set[str]:
    store, path = object_store(folder, storage)
    return {meta["path"].rpartition("/")[2] for page in obstore.list(store, path) for meta in page}
