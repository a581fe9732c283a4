"""Changed copies of a table's own images: queries whose right answer is known for any table of images."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from PIL import Image

from operators.base.columns import URI
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from pipelines.pictures.make import NoPictureError, PictureMaker

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
    rows: Iterable[pa.Table], ids: Mapping[str, str], folder: Path, fetch: FetchOptions
) -> Iterator[CopiedImage | NotCopied]:
    """Fetch and decode the images as an embed job does, limits and process of its own included, and write their copies
    into the folder. `rows` come as a source gives them, some at a time; `ids` are by URI."""
    maker, number = PictureMaker(fetch, DecodeOptions()), 0
    try:
        for batch in rows:
            for start in range(0, batch.num_rows, _AT_ONCE):
                some = batch.slice(start, _AT_ONCE)
                pictures = maker.make(some, COPIED_SIDE)
                for uri, picture in zip(some[URI.name].to_pylist(), pictures, strict=True):
                    if isinstance(picture, NoPictureError):
                        yield NotCopied(id=ids[uri], why=str(picture))
                    else:
                        yield CopiedImage(id=ids[uri], files=_written(picture, folder, number))
                    number += 1
    finally:
        maker.close()


def _written(picture: Image.Image, folder: Path, number: int) -> tuple[Path, ...]:
    files = tuple(folder / f"{number}-{kind}.jpg" for kind in KINDS)
    for kind, file in zip(KINDS, files, strict=True):
        changed(picture, kind).save(file, quality=_POOR_QUALITY if kind == "recompressed" else _QUALITY)
    return files


def changed(image: Image.Image, kind: str) -> Image.Image:
    """The copy of an RGB image before it is encoded."""
    if kind == "flip":
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if kind == "crop":
        x, y = round(image.width * _CROPPED), round(image.height * _CROPPED)
        return image.crop((x, y, max(x + 1, image.width - x), max(y + 1, image.height - y)))
    return image
