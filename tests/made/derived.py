"""A column of half the dimensions, derived from the vectors of `tables_made`, and what it must hold."""

import lance
import numpy as np
import pyarrow as pa

from made.tables import DIM, Position, batch, open_committer, sink_of, vector_of
from operators.base.arrays import vector_field, vectors_from_numpy, vectors_to_numpy
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.table.names import TableNames

HALF = DIM // 2
FIELD = vector_field(HALF, pa.float16(), "vector_4").with_metadata({b"made.by": b"first half"})


def first_half(rows: pa.Table) -> pa.Array:
    """The first half of each vector, times two; null where that is zero."""
    assert rows.column_names == ["vector"]
    halves = vectors_to_numpy(rows["vector"])[:, :HALF] * np.float16(2)
    return vectors_from_numpy(halves, halves.any(axis=1))


def embed(names: TableNames, shards: range, rows: int = 40, storage: StorageOptions = NO_OPTIONS) -> None:
    """A fragment for each shard, as an embed job commits them."""
    committer, sink = open_committer(names, storage=storage), sink_of(names, storage)
    for shard in shards:
        committer.commit([sink.write(batch(shard, range(rows)))])


def held(names: TableNames, options: dict[str, str] | None = None) -> dict[Position, list[float] | None]:
    """Position to derived value, of all rows."""
    table = lance.dataset(names.vectors, storage_options=options).to_table(columns=["shard", "row", "vector_4"])
    positions = zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True)
    return dict(zip(positions, table["vector_4"].to_pylist(), strict=True))


def expected(shards: range, rows: int = 40) -> dict[Position, list[float] | None]:
    every = [(shard, row) for shard in shards for row in range(rows)]
    return {(shard, row): (vector_of(shard, row)[:HALF] * np.float16(2)).tolist() for shard, row in every}
