"""Decoded images on local disk, by position: any worker that sees the folder reads any of them in any order."""

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.arrays import pixels_to_numpy
from operators.base.errors import UserError

WHOLE, SEEN = "_pixlake_whole", "_pixlake_seen"
"""Pixel columns: the whole image, squashed into a square, of which crops are cut, and what the model itself sees."""
_ABOUT, _ROWS = "about.json", "rows.arrow"
_PART = ".part"
_ROOM = 1.05
_LEFT_BEHIND_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class StoredImages:
    """N images in a folder; positions are 0 to N - 1, in the manifest's order. A few hundred bytes of plain data:
    pixels are read from the files, a batch at a time, and the page cache is the system's."""

    folder: str
    rows: int
    whole_side: int
    """Side of the square that the whole images are squashed into, in pixels; 0 where only `seen` is stored."""
    height: int
    width: int
    """The model's own input, in pixels."""

    def whole(self, positions_M: np.ndarray) -> np.ndarray:
        """(M, S, S, 3) uint8 RGB of the whole images, squashed; `shapes` has what they were."""
        return self._read(WHOLE, (self.whole_side, self.whole_side), positions_M)

    def seen(self, positions_M: np.ndarray) -> np.ndarray:
        """(M, height, width, 3) uint8 RGB: exactly what an embed job gives the model."""
        return self._read(SEEN, (self.height, self.width), positions_M)

    def shapes(self, positions_M: np.ndarray) -> np.ndarray:
        """(M, 2) int64: height and width in pixels of the upright originals."""
        table = self.table(["height", "width"])
        found: np.ndarray = np.stack([table[name].to_numpy()[positions_M] for name in ("height", "width")], 1)
        return found.astype(np.int64)

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """What is known of the images beside their pixels: the source's columns, `sha256`, `width`, `height`."""
        with pa.memory_map(str(Path(self.folder, _ROWS))) as file:
            table = pa.ipc.open_file(file).read_all()
            return table if columns is None else table.select(columns)

    def _read(self, name: str, size: tuple[int, int], positions_M: np.ndarray) -> np.ndarray:
        shape = (self.rows, *size, 3)
        pixels: np.ndarray = np.memmap(_path(self.folder, name), np.uint8, "r", shape=shape)[positions_M]
        return pixels


class ImageStore:
    """Writes such a folder within `work`, block by block: under a name of its own, so that other processes may do the
    same there, and at the end under that of its key."""

    def __init__(self, work: Path, *, key: str, whole_side: int, height: int, width: int) -> None:
        self._work, self._key = work, key
        self._folder = work / f"{_name(key)}.{os.getpid()}{_PART}"
        self._sizes = {SEEN: (height, width), **({WHOLE: (whole_side, whole_side)} if whole_side else {})}
        self._whole_side = whole_side
        self._tables: list[pa.Table] = []

    @property
    def bytes_per_image(self) -> int:
        return sum(height * width * 3 for height, width in self._sizes.values())

    def start(self, images: int) -> None:
        """Begin, and take away what killed processes have left. Raises `UserError` where the disk has no room for so
        many images."""
        for left in self._work.glob(f"images-*{_PART}"):
            if left == self._folder or _is_left_behind(left):
                shutil.rmtree(left, ignore_errors=True)
        self._folder.mkdir(parents=True)
        free, needed = shutil.disk_usage(self._folder).free, int(_ROOM * images * self.bytes_per_image)
        if needed > free:
            fit = int(free / _ROOM / self.bytes_per_image)
            raise UserError(
                f"{self._work}: {images:,} decoded images take {needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are "
                f"free there; take fewer (--sample {fit}), or name a folder on another disk (--work)"
            )

    def add(self, good: pa.Table) -> None:
        """Rows with pixels, in their order. Raises `OSError` where they cannot be written."""
        for name, (height, width) in self._sizes.items():
            with open(_path(self._folder, name), "ab") as file:
                file.write(np.ascontiguousarray(pixels_to_numpy(good[name], height, width)).data)
        self._tables.append(good.drop_columns([*self._sizes]))

    def finish(self, about: dict[str, Any]) -> StoredImages:
        """The images. `about` is kept beside them, JSON-ready."""
        table = pa.concat_tables(self._tables).combine_chunks()
        with pa.OSFile(str(self._folder / _ROWS), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        height, width = self._sizes[SEEN]
        sizes = {"rows": table.num_rows, "whole_side": self._whole_side, "height": height, "width": width}
        # Last: a folder without it is one that was not finished.
        (self._folder / _ABOUT).write_text(json.dumps({"key": self._key, "sizes": sizes, "about": about}))
        place = self._work / _name(self._key)
        if find_stored(self._work, self._key) is None:
            shutil.rmtree(place, ignore_errors=True)
            self._folder.rename(place)
        else:
            # Another process was faster.
            shutil.rmtree(self._folder, ignore_errors=True)
        return StoredImages(folder=str(place), **sizes)


def find_stored(work: Path, key: str) -> tuple[StoredImages, dict[str, Any]] | None:
    """(the images, what is kept about them) of a finished folder of this key; None where there is none."""
    folder = work / _name(key)
    try:
        found = json.loads((folder / _ABOUT).read_text())
        if found["key"] != key:
            return None
        images = StoredImages(folder=str(folder), **found["sizes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sizes = {SEEN: images.height * images.width * 3, WHOLE: images.whole_side**2 * 3}
    for name, size in sizes.items():
        path = _path(folder, name)
        if size and (not path.is_file() or path.stat().st_size != size * images.rows):
            return None
    return images, found["about"]


def _name(key: str) -> str:
    return f"images-{key[:16]}"


def _is_left_behind(part: Path) -> bool:
    """Whether nothing was written there for a while: a block takes seconds."""
    written = [each.stat().st_mtime for each in (part, *part.glob("*"))]
    return time.time() - max(written) > _LEFT_BEHIND_S


def _path(folder: str | Path, name: str) -> Path:
    return Path(folder, f"{name.removeprefix('_pixlake_')}.u8")
