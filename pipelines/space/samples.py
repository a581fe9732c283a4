"""A sample of a column's vectors, the same one for the same version of the table."""

from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.search.column import flat_numpy
from pipelines.space.usable_rows import finite_rows

TAKE_ROWS = 8192


def sample_vectors(dataset: Any, column: str, rows: int, *, seed: int = 0) -> np.ndarray:
    """(M, width) of the vectors in up to `rows` rows that have any, drawn without replacement and read in order; rows
    with a number that is not finite are left out."""
    count = dataset.count_rows()
    drawn = np.sort(np.random.default_rng(seed).choice(count, min(rows, count), replace=False))
    parts = []
    for start in range(0, len(drawn), TAKE_ROWS):
        values = dataset.take(drawn[start : start + TAKE_ROWS].tolist(), columns=[column])[column]
        finite = values.filter(pa.array(finite_rows(values)))
        if len(finite):
            parts.append(flat_numpy(finite))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
