"""Rows of a table as queries to it, for measuring what a search finds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.space.flat import flat_vectors


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Rows that serve as queries, in the table's order."""

    vectors: list[np.ndarray]
    """(M, dim) for each query, float32, or uint8 for packed bits: one vector, or several where rows hold lists."""
    left_out: list[np.ndarray]
    """uint64 for each query: row ids that must not be found, its own among them."""

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def counts(self) -> np.ndarray:
        """(Q,): how many vectors each query has."""
        return np.array([len(each) for each in self.vectors], np.int64)


def queries_of(rows: pa.Table, column: str, left_out: Sequence[np.ndarray] | None = None) -> Queries:
    """The queries from rows with their `_rowid` and at least one vector each. Without `left_out`, each leaves out its
    own row."""
    values, starts = flat_vectors(rows[column])
    flat = values if values.dtype == np.uint8 else values.astype(np.float32)
    own = rows["_rowid"].to_numpy()[:, None] if left_out is None else left_out
    return Queries(vectors=np.split(flat, starts[1:-1]) if len(rows) else [], left_out=list(own))
