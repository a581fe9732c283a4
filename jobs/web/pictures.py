"""Small pictures of a table's images for the page: each made once, and kept on disk."""

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import pyarrow as pa

from jobs.web.picture_cache import PictureCache
from jobs.web.rows import PictureRow
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


class Pictures:
    """Makes pictures, and keeps them on disk. Thread-safe; a picture that several ask for is made once."""

    def __init__(self, maker: PictureMaker, rows: KeptRows, cache: PictureCache) -> None:
        self._maker, self._rows, self._cache = maker, rows, cache
        self._failed: OrderedDict[str, tuple[float, NoPictureError]] = OrderedDict()
        self._lock = threading.Lock()
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    def of_row(self, row: PictureRow, size: PictureSize) -> bytes:
        """WebP of the image of a row of the table. Raises `NoPictureError`."""
        # Of what the row knows of the image's content, so that a new image has a new picture.
        name = _name(SIDES[size], row.uri, *map(str, row.version))
        return self._kept(name, lambda: self._made(self._found(row), size))

    def of_bytes(self, data: bytes, size: PictureSize) -> bytes:
        """WebP of an image that a user has given. Raises `NoPictureError`."""
        name = _name(SIDES[size], hashlib.sha256(data).hexdigest())
        return self._kept(name, lambda: self._made(given_rows([data]), size))

    def bytes_of(self, row: PictureRow) -> bytes:
        """The image of a row itself, as it is now where it lies. Raises `NoPictureError`."""
        [found] = self._maker.bytes_of(self._found(row))
        if isinstance(found, NoPictureError):
            raise found
        return found

    def close(self) -> None:
        self._maker.close()

    def _found(self, row: PictureRow) -> pa.Table:
        return self._rows.row(row.uri, row.key, row.entries)

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

    def _made(self, rows: pa.Table, size: PictureSize) -> bytes:
        [picture] = self._maker.make(rows, SIDES[size])
        if isinstance(picture, NoPictureError):
            raise picture
        return encoded(picture, "WEBP")


def _name(*said: object) -> str:
    return hashlib.sha256(json.dumps([_MADE_BY, *said]).encode()).hexdigest()
