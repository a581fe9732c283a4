"""Folders of ready vectors as NumPy and pyarrow write them, sharing nothing with the code under test."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DIM = 6


def vectors_of(number: int, rows: int, dtype: str = "f4") -> np.ndarray:
    """(rows, DIM), of unit length, others for every file number."""
    vectors = np.random.default_rng(number).normal(size=(rows, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)


def ids_of(number: int, rows: int) -> list[str]:
    return [f"{number}-{row}" for row in range(rows)]


def metadata_of(number: int, rows: int) -> pa.Table:
    names = ids_of(number, rows)
    return pa.table(
        {
            "image_path": pa.array([f"/photos/{name}.jpg" for name in names], pa.string()),
            "key": pa.array(names, pa.string()),
            "caption": pa.array([f"caption {name}" for name in names], pa.string()),
            "width": pa.array([640] * rows, pa.int64()),
        }
    )


def write_folder(folder: Path, rows: list[int], **options: Any) -> Path:
    """A file of vectors, and one of metadata, for each number of rows."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for number, count in enumerate(rows):
        np.save(folder / "img_emb" / f"img_emb_{number:04d}.npy", vectors_of(number, count, **options))
        pq.write_table(metadata_of(number, count), folder / "metadata" / f"metadata_{number:04d}.parquet")
    return folder
