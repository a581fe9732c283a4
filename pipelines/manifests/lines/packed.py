"""Manifests of lines, unpacked as they are read."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

import pyarrow as pa

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, filesystem
from pipelines.manifests.lines.blocks import BLOCK_BYTES, Block, Position, read_blocks
from pipelines.manifests.lines.text import Line, NoLinesError, read_lines
from pipelines.manifests.manifest import SourceError


@contextmanager
def opened_lines(uri: str, storage: StorageOptions) -> Iterator[Iterator[Line]]:
    """The file's lines; unpacked where its name ends in `.gz` or `.zst`. Raises `SourceError` where it is unreadable as
    a whole, while the lines are read."""
    with _opened(uri, storage) as stream:
        yield read_lines(stream)


@contextmanager
def opened_blocks(uri: str, storage: StorageOptions, at: Position) -> Iterator[Iterator[Block]]:
    """The file from a line on, in blocks. Files that are packed, or on the web, are read from their start for it.
    Raises as `opened_lines` does."""
    with _opened(uri, storage) as stream:
        if at.offset and (_packing(uri) or uri.startswith(("http://", "https://"))):
            _pass_over(stream, at.offset)
        elif at.offset:
            stream.seek(at.offset)
        yield read_blocks(stream, at)


def _pass_over(stream: IO[bytes], count: int) -> None:
    while count and (passed := stream.read(min(count, BLOCK_BYTES))):
        count -= len(passed)


@contextmanager
def _opened(uri: str, storage: StorageOptions) -> Iterator[IO[bytes]]:
    opener, path = filesystem(uri, storage)
    where = redact_uri(uri)
    try:
        with opener.open(path, "rb") as stream:
            yield _unpacked(stream, _packing(uri))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SourceError(f"{where}: broken gzip data ({error}); write the file again") from error
    except FileNotFoundError as error:
        raise SourceError(f"no file {where}; check the name and the storage options") from error
    except _BrokenZstdError as error:
        raise SourceError(f"{where}: broken zstd data ({error}); write the file again") from error
    except NoLinesError as error:
        raise SourceError(f"{where}: {error}") from error


class _BrokenZstdError(Exception):
    pass


class _Zstd:
    """A stream of zstd, of any number of frames."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except OSError as error:
            # Arrow has no error of its own for it; those of a store have a number or a class of theirs.
            if type(error) is OSError and error.errno is None:
                raise _BrokenZstdError(error) from error
            raise
        return data


def _packing(uri: str) -> str:
    """`.gz`, `.zst` or nothing."""
    ending = os.path.splitext(uri.split("?")[0].lower())[1]
    return ending if ending in (".gz", ".zst") else ""


def _unpacked(stream: IO[bytes], packing: str) -> IO[bytes]:
    if packing == ".gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    return cast(IO[bytes], _Zstd(stream)) if packing else stream
