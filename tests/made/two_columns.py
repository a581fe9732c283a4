"""Tables with an old and a new vector column of given vectors, as a backfill leaves them."""

from collections.abc import Sequence
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from operators.base.arrays import vectors_from_numpy
from operators.models.load import describe
from operators.models.spec import parse_model_name
from pipelines.space.field import with_space
from pipelines.table.table import Table

OLD, NEW = "vector", "vector_new"


def unit(vectors: np.ndarray) -> np.ndarray:
    made: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return made


def rotation(dim: int, seed: int = 5) -> np.ndarray:
    """(dim, dim) float64, orthogonal."""
    made: np.ndarray = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]
    return made


def write(
    folder: Path,
    old: np.ndarray,
    new: np.ndarray,
    *,
    labels: Sequence[object] | None = None,
    without: Sequence[int] = (),
    sha256: Sequence[str] | None = None,
    deleted: Sequence[int] = (),
    name: str = "photos",
) -> Table:
    """Rows `i0`, `i1`, …; those `without` have no new vector, those `deleted` are marked so. Four fragments."""
    count = len(old)
    valid = ~np.isin(np.arange(count), without)
    columns = {
        "shard": pa.array(np.zeros(count, "i4")),
        "row": pa.array(np.arange(count, dtype="i4")),
        "id": pa.array([f"i{number}" for number in range(count)]),
        "uri": pa.array([f"/{number}.jpg" for number in range(count)]),
        "sha256": pa.array(sha256 if sha256 is not None else [f"{number:064x}" for number in range(count)]),
        OLD: vectors_from_numpy(old),
        NEW: vectors_from_numpy(np.where(valid[:, None], new, new.dtype.type(0)), valid),
    }
    if labels is not None:
        columns["label"] = pa.array(labels)
    if len(deleted):
        marks = [1_000_000 if number in deleted else None for number in range(count)]
        columns["deleted_at"] = pa.array(marks, pa.timestamp("us", tz="UTC"))
    fields = [
        with_space_of(pa.field(column, array.type), dim) if (dim := _dim(array)) else pa.field(column, array.type)
        for column, array in columns.items()
    ]
    table = Table.of(f"{folder}/lake/{name}")
    rows = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))
    lance.write_dataset(rows, table.uri, max_rows_per_file=-(-count // 4), data_storage_version="2.2")
    return table


def _dim(array: pa.Array) -> int:
    return array.type.list_size if pa.types.is_fixed_size_list(array.type) else 0


def with_space_of(field: pa.Field, dim: int) -> pa.Field:
    """The field in a space of its own name, of the null model."""
    model = describe(parse_model_name("null")).model_copy(update={"dim": dim})
    record = {"embed": {"family": "null", "dim": dim, "of": field.name}, "normalize": {"l2": True, "dtype": "float32"}}
    return with_space(field, record, model)
