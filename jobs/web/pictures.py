"""Small pictures of a table's images for the page: each made once, and kept on disk."""

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import pyarrow as pa

from jobs.web.picture_cache import PictureCache
from jobs.web.rows import PictureRow
from operators.base.errors import ErrorClass
from operators.fetching.options import FetchOptions
from pipelines.pictures.make import NoPictureError, PictureMaker, encoded, given_rows
from pipelines.reread.kept import KeptRows

PictureSize = Literal["small", "large"]
SIDES: dict[PictureSize, int] = {"small": 320, "large": 1280}
"""The longer side in pixels; an image that is smaller stays as it is."""

TYPE = "image/webp"
_MADE_BY = 2
"""Part of the name in the cache: goes up with every change of how pictures are made."""
_FAILED_S = 60.0
"""Seconds for which an image that gave no picture is not tried again."""
_FAILURES = 10_000
_STRIPES = 64
OfImage = TypeVar("OfImage")
"""What is read of an image: its bytes, or a picture."""


class Pictures:
    """Makes pictures, and keeps them on disk. Thread-safe; a picture that several ask for is made once.

    `fetch_now` gives the settings by which images of the table are read as it is now: a run may have brought images of
    another folder.
    """

    def __init__(
        self, maker: PictureMaker, rows: KeptRows, cache: PictureCache, fetch_now: Callable[[], FetchOptions]
    ) -> None:
        self._maker, self._rows, self._cache, self._fetch_now = maker, rows, cache, fetch_now
        self._failed: OrderedDict[str, tuple[float, NoPictureError]] = OrderedDict()
        self._lock = threading.Lock()
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    def of_row(self, row: PictureRow, size: PictureSize) -> bytes:
        """WebP of the image of a row of the table. Raises `NoPictureError`."""
        # Of what the row knows of the image's content, so that a new image has a new picture.
        name = _name(SIDES[size], row.uri, *map(str, row.version))
        return self._kept(name, lambda: encoded(self._read(row, lambda at: self._maker.make(at, SIDES[size])), "WEBP"))

    def of_bytes(self, data: bytes, size: PictureSize) -> bytes:
        """WebP of an image that a user has given. Raises `NoPictureError`."""
        name = _name(SIDES[size], hashlib.sha256(data).hexdigest())
        return self._kept(name, lambda: encoded(_found(self._maker.make(given_rows([data]), SIDES[size])), "WEBP"))

    def bytes_of(self, row: PictureRow) -> bytes:
        """The image of a row itself, as it is now where it lies. Raises `NoPictureError`."""
        return self._read(row, self._maker.bytes_of)

    def close(self) -> None:
        self._maker.close()

    def _read(self, row: PictureRow, read: Callable[[pa.Table], Sequence[OfImage | NoPictureError]]) -> OfImage:
        """What is read of a row's image; of a file in a folder that no source had before, after another look."""
        rows = self._rows.row(row.uri, row.key, row.entries)
        try:
            return _found(read(rows))
        except NoPictureError as error:
            if error.kind != ErrorClass.BLOCKED_SOURCE or "://" in row.uri:
                raise
        self._maker.read_by(self._fetch_now())
        return _found(read(rows))

    def _kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        with self._stripes[int(name[:8], 16) % _STRIPES]:
            found = self._cache.get(name)
            if found is not None:
                return found
            self._raise_again(name)
            try:
                made = make()
            except NoPictureError as error:
                with self._lock:
                    self._failed[name] = time.monotonic(), error
                    while len(self._failed) > _FAILURES:
                        self._failed.popitem(last=False)
                raise
            self._cache.put(name, made)
            return made

    def _raise_again(self, name: str) -> None:
        with self._lock:
            at, error = self._failed.get(name, (0.0, None))
        if error is not None and time.monotonic() - at < _FAILED_S:
            raise NoPictureError(error.kind, error.why)


def _found(read: Sequence[OfImage | NoPictureError]) -> OfImage:
    """What was read of one row."""
    [found] = read
    if isinstance(found, NoPictureError):
        raise found
    return found


def _name(*said: object) -> str:
    return hashlib.sha256(json.dumps([_MADE_BY, *said]).encode()).hexdigest()
