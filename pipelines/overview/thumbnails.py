"""Small pictures of many images, fetched and decoded as an embed job does it, its guards and limits included."""

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
from PIL import Image

from operators.base.arrays import pixels_to_numpy
from operators.base.columns import ERROR, ERROR_CLASS, HEIGHT, PIXELS, SOURCE_SCHEMA, URI, WIDTH
from operators.base.rows import good_rows
from operators.decode import DecodeConfig, DecodeOptions
from operators.fetch import FetchConfig
from operators.fetching.options import FetchOptions
from operators.pixels.preprocess import Preprocess
from operators.regions.view import without_padding

_AT_ONCE = 64
_QUALITY = 80


class Thumbnail(NamedTuple):
    """A small picture, or why there is none."""

    jpeg: bytes | None
    problem: str | None
    """A class of failure, and the reason."""


def thumbnails(uris: Sequence[str], longest: int, fetch: FetchOptions, decode: DecodeOptions) -> Iterator[Thumbnail]:
    """Of each image in turn a JPEG whose longer side has at most `longest` pixels."""
    fetching = FetchConfig(**dict(fetch)).build()
    options = decode.model_copy(update={"isolate": True})
    decoding = DecodeConfig(targets={PIXELS: _whole(longest)}, **dict(options)).build()
    try:
        for start in range(0, len(uris), _AT_ONCE):
            yield from _made(decoding(fetching(_rows(uris[start : start + _AT_ONCE]))), longest)
    finally:
        fetching.close()
        decoding.close()


def _whole(longest: int) -> Preprocess:
    return Preprocess.square_pixels(longest, "longest")


def _rows(uris: Sequence[str]) -> pa.Table:
    columns = {field.name: pa.nulls(len(uris), field.type) for field in SOURCE_SCHEMA}
    columns |= {"shard": pa.array([0] * len(uris), pa.int32()), "row": pa.array(range(len(uris)), pa.int32())}
    columns |= {URI.name: pa.array(uris, URI.type), "id": pa.array(map(str, range(len(uris))), pa.string())}
    return pa.Table.from_pydict(columns, schema=SOURCE_SCHEMA)


def _made(decoded: pa.Table, longest: int) -> Iterator[Thumbnail]:
    for at, good in enumerate(good_rows(decoded).to_pylist()):
        row = decoded.slice(at, 1)
        if not good:
            yield Thumbnail(None, f"{row[ERROR_CLASS.name][0].as_py()}: {row[ERROR.name][0].as_py()}")
            continue
        width, height = row[WIDTH.name][0].as_py(), row[HEIGHT.name][0].as_py()
        padded = pixels_to_numpy(row[PIXELS], longest, longest)[0]
        image = Image.fromarray(without_padding(padded, height, width, _whole(longest)))
        if max(width, height) < longest:
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=_QUALITY)
        yield Thumbnail(out.getvalue(), None)
