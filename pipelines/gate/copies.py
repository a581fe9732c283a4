"""Changed copies of a table's own images: queries whose right answer is known for any table of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from operators.base.arrays import pixels_to_numpy
from operators.base.columns import ERROR, ERROR_CLASS, HEIGHT, ID, PIXELS, SOURCE_SCHEMA, URI, WIDTH
from operators.base.rows import good_rows
from operators.decode import DecodeConfig
from operators.fetch import FetchConfig
from operators.fetching.options import FetchOptions
from operators.pixels.preprocess import Preprocess

KINDS = ("crop", "flip", "recompressed")
COPIED_SIDE = 640
"""The longer side of a copy in pixels: more than models look at, and no more than is quickly encoded."""
_CROPPED = 0.1
"""What a crop cuts away on each side: 36 % of the area in all."""
_QUALITY, _POOR_QUALITY = 95, 30
"""JPEG qualities, of crops and flips and of what is recompressed."""
_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class CopiedImage:
    """An image's copies, as files."""

    id: str
    files: tuple[Path, ...]
    """In the order of `KINDS`."""


@dataclass(frozen=True, kw_only=True)
class NotCopied:
    """An image that gave no pixels, and why."""

    id: str
    why: str


def write_copies(
    ids: Sequence[str], uris: Sequence[str], folder: Path, fetch: FetchOptions
) -> Iterator[CopiedImage | NotCopied]:
    """Fetch and decode the images as an embed job does, limits and process of its own included, and write their copies
    into the folder."""
    fetching = FetchConfig(**dict(fetch)).build()
    decoding = DecodeConfig(targets={PIXELS: Preprocess.square_pixels(COPIED_SIDE, "squash")}).build()
    try:
        for start in range(0, len(uris), _AT_ONCE):
            batch = _batch(ids[start : start + _AT_ONCE], uris[start : start + _AT_ONCE])
            yield from _copied(decoding(fetching(batch)), folder, start)
    finally:
        fetching.close()
        decoding.close()


def _batch(ids: Sequence[str], uris: Sequence[str]) -> pa.Table:
    columns = {field.name: pa.nulls(len(uris), field.type) for field in SOURCE_SCHEMA}
    columns |= {"shard": pa.array([0] * len(uris), pa.int32()), "row": pa.array(range(len(uris)), pa.int32())}
    columns |= {ID.name: pa.array(ids, ID.type), URI.name: pa.array(uris, URI.type)}
    return pa.Table.from_pydict(columns, schema=SOURCE_SCHEMA)


def _copied(decoded: pa.Table, folder: Path, start: int) -> Iterator[CopiedImage | NotCopied]:
    for at, good in enumerate(good_rows(decoded).to_pylist()):
        row = decoded.slice(at, 1)
        name = row[ID.name][0].as_py()
        if not good:
            yield NotCopied(id=name, why=f"{row[ERROR_CLASS.name][0].as_py()}: {row[ERROR.name][0].as_py()}")
            continue
        squashed = pixels_to_numpy(row[PIXELS], COPIED_SIDE, COPIED_SIDE)[0]
        image = in_shape(squashed, row[WIDTH.name][0].as_py(), row[HEIGHT.name][0].as_py())
        files = tuple(folder / f"{start + at}-{kind}.jpg" for kind in KINDS)
        for kind, file in zip(KINDS, files, strict=True):
            changed(image, kind).save(file, quality=_POOR_QUALITY if kind == "recompressed" else _QUALITY)
        yield CopiedImage(id=name, files=files)


def in_shape(squashed_HWC: np.ndarray, width: int, height: int) -> Image.Image:
    """The image in its own shape again, with a longer side of `COPIED_SIDE` at most: decoding gives all images one
    size."""
    scale = min(1, COPIED_SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(squashed_HWC).resize(size, Image.Resampling.BICUBIC)


def changed(image: Image.Image, kind: str) -> Image.Image:
    """The copy of an RGB image before it is encoded."""
    if kind == "flip":
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if kind == "crop":
        x, y = round(image.width * _CROPPED), round(image.height * _CROPPED)
        return image.crop((x, y, max(x + 1, image.width - x), max(y + 1, image.height - y)))
    return image
