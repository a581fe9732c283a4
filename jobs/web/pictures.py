"""Small pictures of a table's images: fetched and decoded as an embed job does it, its guards and limits included."""

import hashlib
import io
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import pyarrow as pa
from PIL import Image

from jobs.web.picture_cache import PictureCache
from operators.base.arrays import pixels_to_numpy
from operators.base.columns import ERROR, ERROR_CLASS, HEIGHT, IMAGE_BYTES, PIXELS, WIDTH
from operators.base.operator import Operator
from operators.base.rows import good_rows
from operators.decode import DecodeConfig, DecodeOptions
from operators.fetch import FetchConfig
from operators.fetching.options import FetchOptions
from operators.pixels.preprocess import Preprocess
from operators.regions.view import without_padding
from pipelines.search.query import rows_to_embed

PictureSize = Literal["small", "large"]
SIDES: dict[PictureSize, int] = {"small": 320, "large": 1280}
"""The longer side in pixels; an image that is smaller stays as it is."""

TYPE = "image/webp"
_QUALITY = 80
_MADE_BY = 1
"""Part of the name in the cache: goes up with every change of how pictures are made."""
_FAILED_S = 60.0
"""Seconds for which an image that gave no picture is not tried again."""
_FAILURES = 10_000
_STRIPES = 64


class NoPictureError(Exception):
    """An image gives no picture: `kind` is a class of failure, the message says why."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind = kind


class Pictures:
    """Makes pictures, and keeps them on disk. Thread-safe; a picture that several ask for is made once."""

    def __init__(self, fetch: FetchOptions, decode: DecodeOptions, cache: PictureCache, processes: int) -> None:
        self._fetch = FetchConfig(**dict(fetch)).build()
        self._decode, self._processes = decode, processes
        self._decoders: dict[PictureSize, Operator[DecodeConfig]] = {}
        self._cache = cache
        self._failed: OrderedDict[str, tuple[float, NoPictureError]] = OrderedDict()
        self._lock = threading.Lock()
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    def of_uri(self, uri: str, version: tuple[Any, ...], size: PictureSize) -> bytes:
        """WebP of the image at a URI that a row of the table has. `version` is what the row knows of the image's
        content, so that a new image has a new picture. Raises `NoPictureError`."""
        name = hashlib.sha256(json.dumps([_MADE_BY, SIDES[size], uri, *map(str, version)]).encode()).hexdigest()
        return self._kept(name, lambda: self._made(self._fetched(uri), size))

    def of_bytes(self, data: bytes, size: PictureSize) -> bytes:
        """WebP of an image that a user has given. Raises `NoPictureError`."""
        digest = hashlib.sha256(data).hexdigest()
        name = hashlib.sha256(json.dumps([_MADE_BY, SIDES[size], digest]).encode()).hexdigest()
        rows = rows_to_embed(["given"]).append_column(IMAGE_BYTES, pa.array([data], IMAGE_BYTES.type))
        return self._kept(name, lambda: self._made(rows, size))

    def bytes_of(self, uri: str) -> bytes:
        """The image itself, as it is at its URI. Raises `NoPictureError`."""
        rows = self._fetched(uri)
        _check(rows)
        data: bytes = rows[IMAGE_BYTES.name][0].as_py()
        return data

    def close(self) -> None:
        self._fetch.close()
        for decoder in self._decoders.values():
            decoder.close()

    def _fetched(self, uri: str) -> pa.Table:
        return self._fetch(rows_to_embed([uri]))

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
            raise NoPictureError(error.kind, str(error).partition(": ")[2])

    def _made(self, rows: pa.Table, size: PictureSize) -> bytes:
        _check(rows)
        rows = self._decoder(size)(rows)
        _check(rows)
        preprocess, side = _whole(size), SIDES[size]
        width, height = rows[WIDTH.name][0].as_py(), rows[HEIGHT.name][0].as_py()
        pixels = without_padding(pixels_to_numpy(rows[PIXELS], side, side)[0], height, width, preprocess)
        image = Image.fromarray(pixels)
        if max(width, height) < side:
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        written = io.BytesIO()
        image.save(written, "WEBP", quality=_QUALITY)
        return written.getvalue()

    def _decoder(self, size: PictureSize) -> Operator[DecodeConfig]:
        with self._lock:
            if size not in self._decoders:
                options = self._decode.model_copy(update={"isolate": True})
                config = DecodeConfig(targets={PIXELS: _whole(size)}, processes=self._processes, **dict(options))
                self._decoders[size] = config.build()
            return self._decoders[size]


def _whole(size: PictureSize) -> Preprocess:
    return Preprocess.square_pixels(SIDES[size], "longest")


def _check(rows: pa.Table) -> None:
    if not good_rows(rows)[0].as_py():
        raise NoPictureError(*(rows[field.name][0].as_py() for field in (ERROR_CLASS, ERROR)))
