"""From URI to bytes: the only operator that reads a network."""

import re
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pyarrow as pa

from operators.base import columns
from operators.base.errors import ErrorClass
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import fail_rows
from operators.fetching.attempt import FetchError, Limits
from operators.fetching.files import FileReader
from operators.fetching.loop_thread import LoopThread
from operators.fetching.network import Network, Row, failure_of, open_network
from operators.fetching.options import FetchOptions
from operators.storage.uris import StorageError, split_uri

_ALIASES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FILE_THREADS = 4

FIELDS = (columns.IMAGE_BYTES, columns.SIZE_BYTES, columns.ETAG, columns.SHA256, columns.REQUESTS)


class FetchConfig(OperatorConfig, FetchOptions):
    """Reads each row's `uri`. Adds `image_bytes`, `size_bytes`, `etag`, `sha256` (hex, of the bytes) and `requests`."""

    name: ClassVar[str] = "fetch"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({columns.URI.name})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        for field in FIELDS:
            schema = schema.append(field)
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
        self._file_threads = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="fetch-file")
        self._thread = LoopThread("fetch", ThreadPoolExecutor(16, thread_name_prefix="fetch-lookup"))
        self._network = self._thread.call(open_network(config, self._limits)).result()
        self._shut = weakref.finalize(self, _shut, self._thread, self._network, self._file_threads)

    def transform(self, batch: pa.Table) -> pa.Table:
        uris: list[str | None] = batch[columns.URI.name].to_pylist()
        rows = [Row() for _ in uris]
        files: list[tuple[Row, str]] = []
        remote: list[tuple[Row, str, str]] = []
        for row, uri in zip(rows, uris, strict=True):
            try:
                scheme = scheme_of(uri, self.config.schemes)
                if scheme == "file":
                    files.append((row, split_uri(uri or "")[2]))
                else:
                    remote.append((row, scheme, uri or ""))
            except (FetchError, StorageError) as error:
                row.failure = failure_of(error, row.tally.attempts)
        pending = self._thread.call(self._network.read_all(remote)) if remote else None
        shared = iter(files)
        lock = threading.Lock()
        workers = [
            self._file_threads.submit(self._read_files, shared, lock) for _ in range(min(_FILE_THREADS, len(files)))
        ]
        for worker in workers:
            worker.result()
        if pending is not None:
            pending.result()
        return _filled(batch, rows, self.config.name)

    def close(self) -> None:
        """Close connections and end the threads; also done by itself when the operator or the process ends."""
        self._shut()

    def _read_files(self, files: Any, lock: threading.Lock) -> None:
        while True:
            with lock:
                item = next(files, None)
            if item is None:
                return
            row, path = item
            row.tally.attempts = row.tally.requests = 1
            try:
                row.keep(self._files.read(path))
            except FetchError as error:
                row.failure = failure_of(error, row.tally.attempts)


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


def _filled(batch: pa.Table, rows: list[Row], stage: str) -> pa.Table:
    kept = [row.fetched for row in rows]
    values: tuple[list[Any], ...] = (
        [k and k.data for k in kept],
        [k and len(k.data) for k in kept],
        [k and k.etag for k in kept],
        [row.sha256 for row in rows],
        [min(row.tally.requests, 32767) for row in rows],
    )
    for field, value in zip(FIELDS, values, strict=True):
        batch = batch.append_column(field, pa.array(value, field.type))
    failures = {index: row.failure for index, row in enumerate(rows) if row.failure}
    return fail_rows(batch, failures, stage)
