"""Tars of numbered images as img2dataset lays them out, made by the standard library alone."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from end_to_end.audit import Expected
from made.solid_images import png_of


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], tar_format: int = tarfile.USTAR_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def members_of(number: int) -> list[tuple[str, bytes]]:
    """`000000012.png` with its `.json` and `.txt`."""
    fields = {"key": f"{number:09d}", "caption": f"image {number}", "score": number / 2}
    return [
        (f"{number:09d}.png", png_of(number)),
        (f"{number:09d}.json", json.dumps(fields).encode()),
        (f"{number:09d}.txt", f"image {number}".encode()),
    ]


def shard_of(numbers: range) -> list[tuple[str, bytes]]:
    return [member for number in numbers for member in members_of(number)]


def make_tars(folder: Path, rows: int, per_tar: int, *, root: str | None = None) -> list[Expected]:
    """`00000.tar` and so on; `root` is the URI of the folder where that is not its path."""
    expected = []
    for shard, first in enumerate(range(0, rows, per_tar)):
        numbers = range(first, min(first + per_tar, rows))
        write_tar(folder / f"{shard:05d}.tar", shard_of(numbers))
        expected += [Expected(f"{root or folder}/{shard:05d}.tar#{n:09d}.png", n) for n in numbers]
    return expected


def write_beside(tar: Path, numbers: range, failed: int = 0) -> None:
    """The Parquet file that img2dataset writes beside a tar, in another order; its `failed` rows have no member."""
    rows = [
        {"key": f"{number:09d}", "caption": f"image {number}", "score": number / 2, "status": "success"}
        for number in reversed(numbers)
    ]
    rows += [
        {"key": f"gone-{n}", "caption": None, "score": None, "status": "failed_to_download"} for n in range(failed)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tar.with_suffix(".parquet"))
    tar.with_name(f"{tar.stem}_stats.json").write_text("{}")
