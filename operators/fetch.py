"""From URI to bytes: the only operator that reads a network."""

import re
import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base import columns
from operators.base.arrays import binary_in_place, binary_views, large_binary
from operators.base.errors import ErrorClass, Failure
from operators.base.failpoints import failpoint
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import fail_rows, leave_undone, mark_same
from operators.decoding.kept_memory import KeptMemory
from operators.fetching.attempt import Fetched, FetchError, Limits, too_large
from operators.fetching.files import FILE_THREADS, PIECE_BYTES, FileBlock, FileReader, run_all
from operators.fetching.loop_thread import LoopThread
from operators.fetching.network import Network, Row, failure_of, open_network, sha256_of
from operators.fetching.options import FetchOptions, Waits
from operators.fetching.spans import ByteSpan, plan_spans
from operators.storage.uris import StorageError, split_uri

_ALIASES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_COPIED_BYTES = 4 << 10
"""Smaller images that lie alone share a chunk of the column: one for each takes as long as to copy so many bytes."""
_COPIED = (0, 0)
_KEPT_BYTES = 128 << 20
"""Memory of files that is kept for the next blocks."""

FIELDS = (columns.IMAGE_BYTES, columns.SIZE_BYTES, columns.ETAG, columns.SHA256, columns.REQUESTS)


class FetchConfig(OperatorConfig, FetchOptions):
    """Reads each row's `uri`, or what `packed_in` names where the source gives that. Adds `image_bytes`, unless the
    source gives that too, `size_bytes`, `etag`, `sha256` (hex, of the bytes) and `requests`.

    An http server is asked by the etag in `ASKED_BY` where there is one; a row whose image is the one that it belongs
    to is marked `same_bytes`, and has none of those."""

    name: ClassVar[str] = "fetch"
    waits: Waits = Waits.EACH

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({columns.URI.name})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        if columns.PACKED_IN.name in schema.names:
            schema = schema.remove(schema.get_field_index(columns.PACKED_IN.name))
        for field in FIELDS:
            schema = schema if field.name in schema.names else schema.append(field)
        return schema

    def build(self) -> "Fetch":
        return Fetch(self)


class Fetch(Operator[FetchConfig]):
    """Fetches images. One event loop in a thread of its own serves all calls, from however many threads; limits hold
    over all."""

    def __init__(self, config: FetchConfig) -> None:
        super().__init__(config)
        self._limits = Limits(
            max_bytes=config.max_bytes,
            connect_s=config.connect_s,
            first_byte_s=config.first_byte_s,
            object_s=config.object_s,
        )
        self._files = FileReader(self._limits, config.allowed_roots)
        self._memory = KeptMemory(_KEPT_BYTES // PIECE_BYTES)
        self._slow_files = False
        self._file_threads = ThreadPoolExecutor(FILE_THREADS - 1, thread_name_prefix="fetch-file")
        self._thread = LoopThread("fetch", ThreadPoolExecutor(16, thread_name_prefix="fetch-lookup"))
        self._network = self._thread.call(open_network(config, self._limits, config.waits)).result()
        self._shut = weakref.finalize(self, _shut, self._thread, self._network, self._file_threads)

    def transform(self, batch: pa.Table) -> pa.Table:
        failpoint("fetch.before")
        batch = self._fetched(batch)
        failpoint("fetch.after")
        return batch

    def gains_by_many(self, batch: pa.Table) -> bool:
        """Where answers are waited for, or neighbours in a packed file are read together; not for local files."""
        if columns.IMAGE_BYTES.name in batch.column_names:
            return False
        return columns.PACKED_IN.name in batch.column_names or any(map(_is_remote, batch[columns.URI.name].to_pylist()))

    def _fetched(self, batch: pa.Table) -> pa.Table:
        if columns.IMAGE_BYTES.name in batch.column_names:
            return self._measured(batch)
        rows = [Row() for _ in range(batch.num_rows)]
        if columns.PACKED_IN.name in batch.column_names:
            self._read_packed(rows, batch[columns.PACKED_IN.name].to_pylist())
            batch = batch.drop_columns([columns.PACKED_IN.name])
        else:
            if columns.ASKED_BY.name in batch.column_names:
                for row, etag in zip(rows, batch[columns.ASKED_BY.name].to_pylist(), strict=True):
                    row.asked_by = etag
            self._read_loose(rows, batch[columns.URI.name].to_pylist())
        return _filled(batch, rows, self.config.name)

    def _read_loose(self, rows: Sequence[Row], uris: Sequence[str | None]) -> None:
        files: list[Callable[[], None]] = []
        remote: list[tuple[Row, str, str]] = []
        block = FileBlock(lambda: self._memory.empty((PIECE_BYTES,), np.dtype(np.uint8)).data)
        for row, uri in zip(rows, uris, strict=True):
            try:
                scheme = scheme_of(uri, self.config.schemes)
                if scheme == "file":
                    files.append(partial(self._read_file, row, split_uri(uri or "")[2], block))
                else:
                    remote.append((row, scheme, uri or ""))
            except (FetchError, StorageError) as error:
                row.failure = failure_of(error, row.tally.attempts)
        self._run(files, self._network.read_all(remote) if remote else None)

    def _read_packed(self, rows: Sequence[Row], places: Sequence[dict[str, Any]]) -> None:
        """Images of packed files, neighbours with one request."""
        wanted: list[tuple[int, dict[str, Any]]] = []
        files: list[Callable[[], None]] = []
        remote: list[ByteSpan] = []
        for index, place in enumerate(places):
            try:
                scheme_of(place["uri"], self.config.schemes)
                if place["size"] > self.config.max_bytes:
                    raise too_large(place["size"], self._limits)
                if place["size"]:
                    wanted.append((index, place))
                else:
                    rows[index].keep(Fetched(b"", None))
            except FetchError as error:
                rows[index].failure = failure_of(error, 0)
        spans = plan_spans(wanted, self.config.max_bytes)
        for span in spans:
            if scheme_of(span.uri, self.config.schemes) == "file":
                files.append(partial(self._read_span, span))
            else:
                remote.append(span)
        self._run(files, self._network.read_spans(remote) if remote else None)
        for span in spans:
            _deliver(span, rows)

    def _measured(self, batch: pa.Table) -> pa.Table:
        """The batch of a source that gives the bytes itself, with their size and digest."""
        images = batch[columns.IMAGE_BYTES.name]
        lengths: list[int | None] = pc.binary_length(images).to_pylist()
        failures: dict[int, Failure] = {}
        for index, length in enumerate(lengths):
            if length is None:
                failures[index] = failure_of(FetchError(ErrorClass.NOT_FOUND, "the row holds no bytes of an image"), 0)
            elif length > self.config.max_bytes:
                failures[index] = failure_of(too_large(length, self._limits), 0)
        good = [None if index in failures else data for index, data in enumerate(binary_views(images))]
        sizes = pa.array([None if data is None else len(data) for data in good], columns.SIZE_BYTES.type)
        digests = pa.array([None if data is None else sha256_of(data) for data in good], columns.SHA256.type)
        batch = batch.append_column(columns.SIZE_BYTES, sizes).append_column(columns.SHA256, digests)
        return fail_rows(batch, failures, self.config.name)

    def _run(self, files: Sequence[Callable[[], None]], network: Coroutine[Any, Any, None] | None) -> None:
        """The reads of local files in this thread, and in others where they are slow, beside those of the network."""
        pending = self._thread.call(network) if network is not None else None
        self._slow_files = run_all(files, self._file_threads, were_slow=self._slow_files)
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Close connections and end the threads; also done by itself when the operator or the process ends."""
        self._shut()

    def _read_file(self, row: Row, path: str, block: FileBlock) -> None:
        row.tally.attempts = row.tally.requests = 1
        try:
            row.keep(self._files.read(path, block))
        except FetchError as error:
            row.failure = failure_of(error, row.tally.attempts)

    def _read_span(self, span: ByteSpan) -> None:
        span.tally.attempts = span.tally.requests = 1
        try:
            span.result = self._files.read_span(span)
        except FetchError as error:
            span.result = error


def _deliver(span: ByteSpan, rows: Sequence[Row]) -> None:
    """Give each row its bytes. The span's requests count once, for its first row, so that the sum is what was sent."""
    rows[span.images[0][0]].tally.requests = span.tally.requests
    if span.aside is not None:
        for index, _, _ in span.images:
            rows[index].aside = span.aside
        return
    try:
        for index, fetched in span.read():
            rows[index].keep(fetched)
    except FetchError as error:
        for index, _, _ in span.images:
            rows[index].failure = failure_of(error, span.tally.attempts)


def _shut(thread: LoopThread, network: Network, file_threads: ThreadPoolExecutor) -> None:
    file_threads.shutdown(wait=False)
    thread.shut(network.close())


def scheme_of(uri: str | None, allowed: tuple[str, ...]) -> str:
    """The URI's scheme as this operator names it, "file" for a plain path. Raises `FetchError` for one not read."""
    if not uri:
        raise FetchError(ErrorClass.BAD_URI, "no URI")
    found = _SCHEME.match(uri)
    scheme = found[1].lower() if found else "file"
    scheme = _ALIASES.get(scheme, scheme)
    if scheme == "data":
        raise FetchError(ErrorClass.BAD_URI, "data: URIs are not supported; store the image and give its address")
    if scheme not in allowed:
        raise FetchError(ErrorClass.BLOCKED_SOURCE, f"scheme {scheme!r} is not allowed; allowed: {', '.join(allowed)}")
    if found and scheme != "file" and not uri.startswith("//", found.end()):
        raise FetchError(ErrorClass.BAD_URI, f"write {scheme}://…")
    return scheme


def _is_remote(uri: str | None) -> bool:
    found = _SCHEME.match(uri or "")
    return found is not None and found[1].lower() != "file"


def _images(rows: list[Row]) -> pa.ChunkedArray:
    """The bytes of the rows, which let go of them. Those that were read into one piece of memory, one behind the other,
    are a chunk there; a large image that lies alone is a chunk of its own."""
    chunks: list[pa.Array] = []
    run: list[bytes | memoryview | None] = []
    end = _COPIED
    for row in rows:
        data = row.fetched.data if row.fetched and not row.not_modified else None
        row.fetched = None
        begin, behind = _place(data)
        if run and begin != end:
            chunks.append(_chunk(run, end))
            run = []
        run.append(data)
        end = behind
    if run:
        chunks.append(_chunk(run, end))
    return pa.chunked_array(chunks, columns.IMAGE_BYTES.type)


def _place(data: bytes | memoryview | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the bytes begin, and where those of the next row have to begin to be in their chunk: which memory, and a
    place in it. The same for all that are copied into one."""
    if data is None or (isinstance(data, bytes) and len(data) < _COPIED_BYTES):
        return _COPIED, _COPIED
    memory, start = id(memoryview(data).obj), pa.py_buffer(data).address
    return (memory, start), (memory, start + len(data))


def _chunk(run: list[bytes | memoryview | None], end: tuple[int, int]) -> pa.LargeBinaryArray:
    return large_binary(run) if end == _COPIED else binary_in_place([data for data in run if data is not None])


def _filled(batch: pa.Table, rows: list[Row], stage: str) -> pa.Table:
    same = [index for index, row in enumerate(rows) if row.not_modified]
    kept = [None if row.not_modified else row.fetched for row in rows]
    values = (
        [k and len(k.data) for k in kept],
        [k and k.etag for k in kept],
        [row.sha256 for row in rows],
        [min(row.tally.requests, 32767) for row in rows],
    )
    del kept
    batch = batch.append_column(columns.IMAGE_BYTES, _images(rows))
    for field, value in zip(FIELDS[1:], values, strict=True):
        batch = batch.append_column(field, pa.array(value, field.type))
    failures = {index: row.failure for index, row in enumerate(rows) if row.failure}
    batch = fail_rows(batch, failures, stage)
    batch = leave_undone(batch, {index: row.aside for index, row in enumerate(rows) if row.aside is not None}, stage)
    return mark_same(batch, same, stage)
