"""Folders and manifests of numbered images, each with what must come of it."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from end_to_end.audit import Expected
from made.solid_images import png_of


def make_folder(folder: Path, numbers: range) -> list[Expected]:
    """PNG files `00000.png` and so on; a listing has them in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number:05d}.png").write_bytes(png_of(number))
    return [Expected(str(folder / f"{number:05d}.png"), number) for number in numbers]


def write_manifest(path: Path, expected: Sequence[Expected], row_group_size: int = 1_000_000) -> str:
    """A Parquet file of the URIs, and a column `key` where ids are given; gives its path."""
    columns = {"uri": pa.array([each.uri for each in expected], pa.string())}
    if any(each.id is not None for each in expected):
        columns["key"] = pa.array([each.id for each in expected], pa.string())
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return str(path)
