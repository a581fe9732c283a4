"""The images of a benchmark, drawn by position, fetched and decoded as by an embed job, and changed copies of some."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from jobs.reports.page.pictures import thumbnail_jpeg
from operators.base.arrays import large_binary, pixels_to_numpy
from operators.base.columns import ERROR, ERROR_CLASS, HEIGHT, IMAGE_BYTES, SECONDS_PREFIX, SOURCE_SCHEMA, URI, WIDTH
from operators.base.errors import row_line
from operators.base.operator import OperatorConfig
from operators.base.rows import good_rows
from operators.decode import DecodeConfig
from operators.storage.redact import redact
from pipelines.balance.core_seconds import core_seconds
from pipelines.gate.copies import COPIED_SIDE
from pipelines.judging.changes import KINDS, change
from pipelines.pictures.make import in_own_shape, seen_whole
from pipelines.run.local import blocks_of
from pipelines.run.worker import LOAD, working_stage
from pipelines.sources.source import Source
from pipelines.sources.work import ShardWork

PICTURE = "_pixlake_picture"
"""Column with the image itself, padded to a square, of which changed copies are made."""
ORIGINAL, KIND = "_pixlake_original", "_pixlake_kind"
"""Of a changed copy: the number of its original in the sample, and how it was changed."""
_BLOCK_ROWS = 64
_QUALITY = 95
SHOWN = 12
_PICTURES_AT_ONCE = 5


class SpilledBlocks:
    """Tables in files of their own, mapped into memory when they are read: one block is in memory at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.blocks = 0
        self.rows = 0

    def add(self, block: pa.Table) -> None:
        with pa.OSFile(str(self._path(self.blocks)), "wb") as file, pa.ipc.new_file(file, block.schema) as writer:
            writer.write_table(block)
        self.blocks += 1
        self.rows += block.num_rows

    def read(self, columns: list[str], limit: int | None = None) -> Iterator[pa.Table]:
        """The blocks with these columns, up to `limit` rows."""
        left = self.rows if limit is None else limit
        for at in range(self.blocks):
            if left <= 0:
                return
            with pa.memory_map(str(self._path(at))) as file:
                block = pa.ipc.open_file(file).read_all().select(columns)[:left]
                yield block
            left -= block.num_rows

    def _path(self, block: int) -> Path:
        return self._folder / f"{self._name}-{block}.arrow"


@dataclass(frozen=True, kw_only=True)
class DrawnImages:
    """The sample, on disk."""

    rows: pa.Table
    """The images with pixels, without their pixels, in the order of `originals`."""
    drawn: int
    failures: dict[str, int]
    """Class of failure -> images of the sample that gave no pixels."""
    failure_example: str
    originals: SpilledBlocks
    copies: SpilledBlocks
    """Changed copies, with `ORIGINAL` and `KIND`."""
    copied: int
    """Images that were changed: the first ones."""
    decode_s: float
    """Core seconds to fetch and decode one image for the models; no waiting."""
    thumbnails: list[bytes]
    """JPEGs of the first images."""
    changed_example: dict[str, bytes]
    """Kind of change -> JPEG of the first image changed so."""


class Sampling:
    """Fetches, decodes and changes the images, once."""

    def __init__(
        self,
        source: Source,
        fetch: OperatorConfig,
        decode: DecodeConfig,
        *,
        cores: int,
        folder: Path,
        counted: Callable[[str, float | None], None],
    ) -> None:
        self._source, self._fetch, self._decode = source, fetch, decode
        self._cores, self._counted = cores, counted
        self._originals = SpilledBlocks(folder, "originals")
        self._copies = SpilledBlocks(folder, "copies")
        self._rows: list[pa.Table] = []
        self._failures: Counter[str] = Counter()
        self._example = ""
        self._drawn = self._seen = self._copied = 0
        self._decode_s = 0.0
        self._thumbnails: list[bytes] = []
        self._changed_example: dict[str, bytes] = {}

    def draw(self, changed: Sequence[ShardWork], others: Sequence[ShardWork]) -> DrawnImages:
        """Fetch and decode all; of `changed` make changed copies too. No image is in both."""
        self._drawn = sum(work.num_wanted for work in (*changed, *others))
        targets = {**self._decode.targets, PICTURE: seen_whole(COPIED_SIDE)}
        pictured = self._decode.model_copy(update={"targets": targets})
        self._decode_all(pictured, changed)
        self._decode_all(self._decode, others)
        return DrawnImages(
            rows=pa.concat_tables(self._rows),
            drawn=self._drawn,
            failures=dict(self._failures.most_common()),
            failure_example=self._example,
            originals=self._originals,
            copies=self._copies,
            copied=self._copied,
            decode_s=self._decode_s,
            thumbnails=self._thumbnails,
            changed_example=self._changed_example,
        )

    def _decode_all(self, decode: DecodeConfig, work: Sequence[ShardWork]) -> None:
        if not work:
            return
        with working_stage((self._fetch, decode), self._cores) as decoding:
            taken: list[tuple[int, float]] = []
            for block in blocks_of(self._source, work, _BLOCK_ROWS):
                spent = core_seconds()
                decoded = decoding(block)
                taken.append((block.num_rows, _core_s(decoded, spent)))
                good = self._kept(decoded)
                if PICTURE in decode.targets:
                    self._change(good)
                    good = good.drop_columns([PICTURE])
                if good.num_rows:
                    self._originals.add(good)
                self._rows.append(good.drop_columns([*self._decode.targets]))
                self._counted(
                    f"fetching and decoding: {self._seen:,} of {self._drawn:,} images", self._seen / max(self._drawn, 1)
                )
        self._timed(taken)

    def _timed(self, taken: Sequence[tuple[int, float]]) -> None:
        """(rows, core seconds) of the blocks of a pass. In the first one the decoding process starts. The second pass
        counts where it has more than that: it makes the pixels of the models alone."""
        if len(taken) > 1 or (taken and not self._decode_s):
            rows, seconds = zip(*(taken[1:] or taken), strict=True)
            self._decode_s = sum(seconds) / max(sum(rows), 1)

    def _kept(self, block: pa.Table) -> pa.Table:
        """The rows with pixels. What failed is counted."""
        names = [name for name in block.column_names if name.startswith(SECONDS_PREFIX)]
        self._seen += block.num_rows
        good = good_rows(block)
        bad = block.filter(pc.invert(good))
        self._failures.update(bad[ERROR_CLASS.name].to_pylist())
        if bad.num_rows and not self._example:
            self._example = row_line(redact(f"{bad[URI.name][0].as_py()}: {bad[ERROR.name][0].as_py()}"))
        return block.filter(good).drop_columns(names)

    def _change(self, good: pa.Table) -> None:
        """Copies of a block's images, decoded anew from a JPEG as if they were files of the source."""
        pictures = _pictures(good)
        with working_stage((self._decode,), self._cores) as decoding:
            for start in range(0, len(pictures), _PICTURES_AT_ONCE):
                at = range(start, min(start + _PICTURES_AT_ONCE, len(pictures)))
                changed = [
                    (row, kind, change(pictures[row], kind, pictures[row - 1], seed=self._copied + row))
                    for row in at
                    for kind in KINDS
                ]
                if not self._changed_example:
                    shown = changed[: len(KINDS)]
                    self._changed_example = {kind: thumbnail_jpeg(np.asarray(image)) for _, kind, image in shown}
                self._copies.add(_kept_columns(decoding(_encoded(good, changed, self._copied))))
        self._thumbnails += [thumbnail_jpeg(np.asarray(each)) for each in pictures[: SHOWN - len(self._thumbnails)]]
        self._copied += len(pictures)


def _core_s(done: pa.Table, before: float | None) -> float:
    """CPU seconds since there were `before`; where they are not told, by the clock: a block is decoded by one process,
    whatever the cores."""
    now = core_seconds()
    if now is not None and before is not None:
        return now - before
    names = (name for name in done.column_names if name.startswith(SECONDS_PREFIX))
    return sum(sum(done[name].to_pylist()) for name in names if not name.startswith(f"{SECONDS_PREFIX}{LOAD}"))


def _kept_columns(copies: pa.Table) -> pa.Table:
    names = [name for name in copies.column_names if not name.startswith(SECONDS_PREFIX)]
    return copies.select(names).filter(good_rows(copies))


def _pictures(good: pa.Table) -> list[Image.Image]:
    if not good.num_rows:
        return []
    padded = pixels_to_numpy(good[PICTURE], COPIED_SIDE, COPIED_SIDE)
    sizes = zip(good[WIDTH.name].to_pylist(), good[HEIGHT.name].to_pylist(), strict=True)
    return [in_own_shape(pixels, *size) for pixels, size in zip(padded, sizes, strict=True)]


def _encoded(good: pa.Table, changed: Sequence[tuple[int, str, Image.Image]], first: int) -> pa.Table:
    """Rows as the decoder reads them. `first` is the number of the block's first image in the sample."""
    rows, kinds, images = zip(*changed, strict=True)
    batch = good.select(SOURCE_SCHEMA.names).take(pa.array(rows, pa.int64()))
    batch = batch.append_column(ORIGINAL, pa.array([first + row for row in rows], pa.int64()))
    batch = batch.append_column(KIND, pa.array(kinds, pa.string()))
    return batch.append_column(IMAGE_BYTES, large_binary([_jpeg(image) for image in images]))


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
