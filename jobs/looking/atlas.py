"""A folder that shows points on a plane in a browser: Embedding Atlas (package `embedding-atlas`, MIT) with the data
beside it. It needs no network; a file server is enough, since browsers run no modules from `file:`."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.base.errors import UserError
from pipelines.overview.plane import Near

_ROW, _X, _Y, _NEAR = "__row_index__", "__x", "__y", "__neighbors"
"""Names that its own export gives these columns, or such that it hides."""
_IMAGE = "image"
_NO_CHARTS = {_IMAGE, "id", "uri", "etag", "sha256", "shard", "row"}
_DATA = Path("data")
MARK = "pixlake-map.json"
"""Says that a folder is a map, which may be made anew."""


@dataclass(frozen=True, kw_only=True)
class AtlasPoints:
    """N points and what is shown of each."""

    plane: np.ndarray
    """(N, 2) float32."""
    near: Near
    columns: pa.Table
    """N rows of numbers, texts, dates and truth values; the names are the user's."""
    pictures: Sequence[bytes | None]
    """JPEG."""
    colour: str | None
    """The column that colours the points at first."""


def check_atlas_folder(folder: Path) -> None:
    """Raises `UserError` where Embedding Atlas is not installed, and for a folder that holds something else."""
    if find_spec("embedding_atlas") is None:
        raise UserError("a map needs umap-learn and embedding-atlas: pip install 'pixlake[map]'")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UserError(f"--out {folder}: holds something else than a map; name a new folder, or an empty one")


def write_atlas(folder: Path, points: AtlasPoints, about: dict[str, Any]) -> int:
    """Write the folder, in place of an earlier map; the bytes of all its files. `about` goes into `MARK`. Raises
    `UserError` where that cannot be done."""
    try:
        return _written(folder, points, about)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written: {error.strerror or error}") from None


def _written(folder: Path, points: AtlasPoints, about: dict[str, Any]) -> int:
    made = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    (made / _DATA).mkdir(parents=True)
    shutil.copytree(_static(), made, dirs_exist_ok=True)
    table = _table(points)
    pq.write_table(table, made / _DATA / "dataset.parquet", compression="zstd")
    (made / _DATA / "metadata.json").write_text(json.dumps(_metadata(points, table.column_names)))
    (made / MARK).write_text(json.dumps(about, indent=2))
    size = sum(path.stat().st_size for path in made.rglob("*"))
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(made, folder)
    return size


def _static() -> Path:
    spec = find_spec("embedding_atlas")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "static"


def _table(points: AtlasPoints) -> pa.Table:
    count = len(points.plane)
    near = pa.StructArray.from_arrays(
        [_lists(points.near.places), _lists(1 - points.near.cosines)], names=["ids", "distances"]
    )
    columns = {_ROW: pa.array(range(count), pa.int64()), _X: points.plane[:, 0], _Y: points.plane[:, 1], _NEAR: near}
    if any(points.pictures):
        # It takes bytes with a path that ends as a picture's does for a picture.
        paths = pa.array([None if each is None else "thumbnail.jpg" for each in points.pictures], pa.string())
        data = pa.array(points.pictures, pa.binary())
        columns[_IMAGE] = pa.StructArray.from_arrays([data, paths], names=["bytes", "path"], mask=paths.is_null())
    taken = set(columns)
    for name in points.columns.column_names:
        shown = f"{name}_" if name in taken else name
        columns[shown] = points.columns[name]
    return pa.table(columns)


def _lists(values_NK: np.ndarray) -> pa.Array:
    count, k = values_NK.shape
    return pa.ListArray.from_arrays((np.arange(count + 1) * k).astype(np.int32), values_NK.ravel())


def _metadata(points: AtlasPoints, names: Sequence[str]) -> dict[str, Any]:
    """In the terms of Embedding Atlas 0.20: what its own export of a static application writes."""
    data: dict[str, Any] = {"id": _ROW, "projection": {"x": _X, "y": _Y}, "neighbors": _NEAR}
    embedding: dict[str, Any] = {"type": "embedding", "title": "Embedding", "data": {"x": _X, "y": _Y}}
    if points.colour is not None:
        embedding["data"]["category"] = points.colour
    charts: dict[str, Any] = {"embedding": embedding, "exclude": [name for name in names if name in _NO_CHARTS]}
    charts["table"] = {
        "type": "instances",
        "title": "Images",
        "columns": [name for name in names if name not in (_ROW, _X, _Y, _NEAR)],
    }
    return {
        "props": {"data": data, "defaultChartsConfig": charts},
        "isStatic": True,
        "database": {"type": "wasm", "load": True},
    }
