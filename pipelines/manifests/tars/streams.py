"""Tars as streams that go forwards: local files as they are, objects in large ranges, the next ones read ahead."""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import obstore

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, object_store
from operators.storage.uris import file_version
from pipelines.manifests.files import SourceFile
from pipelines.manifests.manifest import SourceError

PIECE_BYTES = 32 << 20
_AHEAD = 4
"""Pieces in flight or waiting to be parsed, of one tar or of several: with the one being parsed, 160 MiB."""
_PIECE_S = 300.0


class ByteStream(Protocol):
    """What a tar is parsed from."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, position: int, /) -> object: ...
    def tell(self) -> int: ...


def tar_streams(
    files: Sequence[SourceFile], storage: StorageOptions
) -> Generator[tuple[SourceFile, ByteStream], None, None]:
    """Each file with its bytes, good until the next file is asked for. Raises `SourceError` while one is read that is
    not the one that was listed."""
    pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="tar-pieces")
    pieces = _Pieces(pool, [file for file in files if "://" in file.uri], storage)
    try:
        for file in files:
            if "://" in file.uri:
                stream = ObjectStream(file.size, pieces)
                yield file, stream
                stream.skip_rest()
            else:
                with open(file.uri, "rb") as local:
                    yield file, local
    finally:
        pool.shutdown(cancel_futures=True)


class _Pieces:
    """The bytes of objects, one after the other, in pieces of which some are read ahead."""

    def __init__(self, pool: ThreadPoolExecutor, files: Sequence[SourceFile], storage: StorageOptions) -> None:
        self._pool = pool
        self._storage = storage
        self._wanted = ((file, start) for file in files for start in range(0, file.size, PIECE_BYTES))
        self._waiting: deque[Future[bytes]] = deque()

    def next(self) -> bytes:
        while len(self._waiting) < _AHEAD and (wanted := next(self._wanted, None)) is not None:
            self._waiting.append(self._pool.submit(_read_piece, *wanted, self._storage))
        return self._waiting.popleft().result()


class ObjectStream:
    """One object's bytes from its pieces; seeks forwards only."""

    def __init__(self, size: int, pieces: _Pieces) -> None:
        self._size = size
        self._pieces = pieces
        self._piece = b""
        self._first = 0
        """Where the piece at hand begins."""
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        if position < self._at:
            raise ValueError(f"a stream at byte {self._at} does not go back to {position}")
        self._at = position
        return position

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0 and self._at < self._size:
            while self._at >= self._first + len(self._piece):
                self._next_piece()
            begin = self._at - self._first
            parts.append(self._piece[begin : begin + size])
            self._at += len(parts[-1])
            size -= len(parts[-1])
        return b"".join(parts)

    def skip_rest(self) -> None:
        """Take the pieces that nobody has asked for out of the row: the next object's come behind them."""
        while self._first + len(self._piece) < self._size:
            self._next_piece()

    def _next_piece(self) -> None:
        self._first += len(self._piece)
        self._piece = self._pieces.next()


def _read_piece(file: SourceFile, start: int, storage: StorageOptions) -> bytes:
    store, path = object_store(file.uri, storage, timeout_s=_PIECE_S)
    stop = min(start + PIECE_BYTES, file.size)
    result = obstore.get(store, path, options={"range": (start, stop)})
    meta = result.meta
    if file_version(meta["size"], meta["e_tag"] or meta["last_modified"]) != file.version:
        raise SourceError(f"{redact_uri(file.uri)} was replaced while its members were listed; start the run again")
    data = bytes(result.bytes())
    if len(data) != stop - start:
        raise OSError(f"{redact_uri(file.uri)}: {len(data)} bytes where {stop - start} were asked for")
    return data
