"""Which of an image's regions a query meant, where the image is one row with the vectors of all of them."""

from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import REGIONS
from pipelines.search.column import SearchColumn, flat_numpy


def best_regions(column: SearchColumn, query_MD: np.ndarray, rows: pa.Table) -> list[dict[str, Any]]:
    """Of each row, with a list of vectors in the column and one of `regions`, the region that is nearest to any of the
    query's vectors, (M, dim) float32."""
    vectors = rows[column.name].combine_chunks()
    scores = column.scores(query_MD, flat_numpy(vectors)).max(0)
    ends = np.cumsum(vectors.value_lengths().to_numpy())
    regions = rows[REGIONS.name].to_pylist()
    best = [int(each.argmax()) for each in np.split(scores, ends[:-1])]
    found: list[dict[str, Any]] = [of_row[at] for of_row, at in zip(regions, best, strict=True)]
    return found
