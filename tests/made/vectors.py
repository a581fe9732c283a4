"""Tables of clustered vectors with the columns that an embed job writes; rows are appended under a term, as it does."""

from collections.abc import Sequence

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import write_fragments

from operators.base.arrays import vectors_from_numpy
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.storage.stores import NO_OPTIONS, StorageOptions, lance_options
from pipelines.space.field import with_space
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames

CLUSTERS = 60


def clustered(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """(rows, dim) float32 unit vectors in clusters whose places are the same for every seed."""
    centers = np.random.default_rng(99).normal(size=(CLUSTERS, dim))
    random = np.random.default_rng(seed)
    # Few directions within a cluster: what real embeddings are like, and what quantisation lives on.
    spread = random.normal(size=(rows, 8)) @ np.random.default_rng(98).normal(size=(8, dim))
    vectors = centers[random.integers(0, CLUSTERS, rows)] + 0.3 * spread + 0.05 * random.normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def rows_of(vectors: pa.Array, first: int, column: str = "vector") -> pa.Table:
    """Rows of an embed job, in its one shard; `vectors` are of any type."""
    numbers = np.arange(first, first + len(vectors))
    field = with_space(
        pa.field(column, vectors.type), {"embed": {"family": "null"}}, describe(parse_model_name("null"))
    )
    schema = pa.schema(
        [
            pa.field("shard", pa.int32()),
            pa.field("row", pa.int32()),
            pa.field("id", pa.string()),
            pa.field("uri", pa.string()),
            pa.field("even", pa.bool_()),
            field,
        ]
    )
    names = [f"i{number}" for number in numbers]
    columns = [np.zeros(len(numbers), "i4"), numbers.astype("i4"), names, [f"/{name}.jpg" for name in names]]
    return pa.table([*map(pa.array, columns), pa.array(numbers % 2 == 0), vectors], schema=schema)


def append(table: str, rows: pa.Table, storage: StorageOptions = NO_OPTIONS, fragments: int = 1) -> None:
    """In the fenced form in which an embed job commits, one commit a fragment; makes the table where there is none."""
    uri = TableNames.from_table(table).vectors
    fenced, _ = FencedTable.create_or_open(uri, rows.schema, storage)
    fenced.claim(fenced.term.number + 1, "test")
    size = -(-rows.num_rows // fragments)
    for first in range(0, rows.num_rows, size):
        part = rows.slice(first, size)
        options = {"mode": "append", "enable_stable_row_ids": True, "data_storage_version": "2.2"}
        written = write_fragments(part, uri, storage_options=lance_options(uri, storage), **options)
        fenced.append(written, part["row"].to_numpy().astype(np.int64))


def make(table: str, vectors: np.ndarray, storage: StorageOptions = NO_OPTIONS, fragments: int = 4) -> str:
    append(table, rows_of(vectors_from_numpy(vectors), 0), storage, fragments)
    return table


def dataset_of(table: str, storage: StorageOptions = NO_OPTIONS) -> "lance.LanceDataset":
    uri = TableNames.from_table(table).vectors
    return lance.dataset(uri, storage_options=lance_options(uri, storage))


def found(dataset: "lance.LanceDataset", query: np.ndarray, **nearest: object) -> Sequence[str]:
    """Ids of the ten nearest rows."""
    wanted = {"column": "vector", "q": query, "k": 10, "metric": "cosine", **nearest}
    return dataset.to_table(columns=["id", "_distance"], nearest=wanted)["id"].to_pylist()
