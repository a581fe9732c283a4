"""Small pictures of images, fetched and decoded as an embed job does it, its guards and limits included."""

import io
import threading
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from operators.base.arrays import pixels_to_numpy
from operators.base.columns import ERROR, ERROR_CLASS, ETAG, HEIGHT, IMAGE_BYTES, PIXELS, REQUESTS, WIDTH
from operators.base.operator import Operator
from operators.base.rows import good_rows, source_rows
from operators.decode import DecodeConfig, DecodeOptions
from operators.fetch import FetchConfig
from operators.fetching.options import FetchOptions
from operators.pixels.preprocess import Preprocess
from operators.regions.view import without_padding

PictureFormat = Literal["JPEG", "WEBP"]
_QUALITY = 80


class NoPictureError(Exception):
    """An image gives no picture: `kind` is a class of failure, the message says why."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind = kind
        self.why = why


class PictureMaker:
    """Makes pictures, of any size, `processes` at a time. Thread-safe."""

    def __init__(self, fetch: FetchOptions, decode: DecodeOptions, *, processes: int = 1) -> None:
        self._options = fetch
        self._fetch = FetchConfig(**dict(fetch)).build()
        # Whoever looks has not chosen the images: one may kill the process that decodes it. And nobody searches by what
        # is made here: a large JPEG need not be decoded whole for it.
        self._decode = decode.model_copy(update={"isolate": True, "shrink_on_load": True})
        self._processes = processes
        self._decoders: dict[int, Operator[DecodeConfig]] = {}
        self._lock = threading.Lock()

    def make(self, rows: pa.Table, longest: int) -> list[Image.Image | NoPictureError]:
        """Of each row, as a source gives it, an RGB image in the shape of its own with a longer side of at most
        `longest` pixels, or why there is none. An image that is smaller stays as it is."""
        decoded = self._decoder(longest)(self._fetch(rows))
        return [_made(row, longest) for row in _each(decoded)]

    def bytes_of(self, rows: pa.Table) -> list[bytes | NoPictureError]:
        """The images themselves, as they were stored."""
        fetched = self._fetch(rows)
        return [_failed(row) or row[IMAGE_BYTES.name][0].as_py() for row in _each(fetched)]

    def read_by(self, fetch: FetchOptions) -> None:
        """Read images by these settings from now on."""
        with self._lock:
            if fetch != self._options:
                # The one before ends with its last read.
                self._options, self._fetch = fetch, FetchConfig(**dict(fetch)).build()

    def close(self) -> None:
        """End the threads and processes."""
        self._fetch.close()
        for decoder in self._decoders.values():
            decoder.close()

    def _decoder(self, longest: int) -> Operator[DecodeConfig]:
        with self._lock:
            if longest not in self._decoders:
                targets = {PIXELS: seen_whole(longest)}
                config = DecodeConfig(targets=targets, processes=self._processes, **dict(self._decode))
                self._decoders[longest] = config.build()
            return self._decoders[longest]


def given_rows(images: Sequence[bytes]) -> pa.Table:
    """Rows of images that somebody has given, as a source gives them that holds its images itself."""
    rows = source_rows([None] * len(images))
    return (
        rows.append_column(IMAGE_BYTES, pa.array(images, IMAGE_BYTES.type))
        .append_column(ETAG, pa.nulls(len(images), ETAG.type))
        .append_column(REQUESTS, pa.array([0] * len(images), REQUESTS.type))
    )


def seen_whole(longest: int) -> Preprocess:
    """What gives the pixels of a picture: the image as a whole, padded to a square."""
    return Preprocess.square_pixels(longest, "longest")


def in_own_shape(padded_HWC: np.ndarray, width: int, height: int) -> Image.Image:
    """The picture of an image of `width` x `height` from its square (H, H, 3) uint8 pixels by `seen_whole`."""
    longest = len(padded_HWC)
    image = Image.fromarray(without_padding(padded_HWC, height, width, seen_whole(longest)))
    return image if max(width, height) >= longest else image.resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: PictureFormat) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, quality=_QUALITY)
    return out.getvalue()


def _made(row: pa.Table, longest: int) -> Image.Image | NoPictureError:
    failed = _failed(row)
    if failed is not None:
        return failed
    padded = pixels_to_numpy(row[PIXELS], longest, longest)[0]
    return in_own_shape(padded, row[WIDTH.name][0].as_py(), row[HEIGHT.name][0].as_py())


def _failed(row: pa.Table) -> NoPictureError | None:
    if good_rows(row)[0].as_py():
        return None
    return NoPictureError(*(row[field.name][0].as_py() for field in (ERROR_CLASS, ERROR)))


def _each(rows: pa.Table) -> list[pa.Table]:
    return [rows.slice(at, 1) for at in range(rows.num_rows)]
