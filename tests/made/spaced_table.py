"""Tables of given vectors in a space of the null model: what is exported of them can be taken in again."""

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from jobs import embed
from jobs.config.load import load_config
from jobs.export import ExportConfig, Exported, run
from operators.base.arrays import vectors_from_numpy
from operators.models.load import describe
from operators.models.spec import parse_model_name
from pipelines.space.field import with_space

LOCAL = {"executor": "local"}


def make(folder: Path, vectors: np.ndarray, name: str = "photos", first: int = 0) -> str:
    """Ids `id-0`, `id-1`, …, from `first` on; the vectors as they are, of float16 or float32. Again under a
    name: more rows."""
    dim, dtype = vectors.shape[1], vectors.dtype.name
    model = describe(parse_model_name("null")).model_copy(update={"dim": dim})
    record = {"embed": {"dim": dim}, "normalize": {"l2": False, "dtype": dtype}}
    array = vectors_from_numpy(vectors)
    ids = [f"id-{number}" for number in range(first, first + len(vectors))]
    fields = [pa.field("id", pa.string()), pa.field("uri", pa.string())]
    schema = pa.schema([*fields, with_space(pa.field("vector", array.type), record, model)])
    rows = pa.Table.from_arrays([pa.array(ids), pa.array([f"/{each}.jpg" for each in ids]), array], schema=schema)
    uri = folder / "lake" / f"{name}.lance"
    lance.write_dataset(rows, uri, mode="append" if uri.exists() else "create", max_rows_per_file=100)
    return str(uri).removesuffix(".lance")


def export(table: str, out: Path, **options: Any) -> Exported:
    return run(load_config(ExportConfig, base={"table": table, "out": str(out), **options}))


def take_in(out: Path, table: str, **source: Any) -> embed.Report:
    return embed.run(embed.load(base={"source": {"uri": str(out), **source}, "table": table, "cluster": LOCAL}))
