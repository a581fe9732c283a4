"""The rows farthest from what was there, whatever batches they come in."""

import numpy as np
import pyarrow as pa

from pipelines.drift.nearest import unit_vectors
from pipelines.drift.sums import FarRows


def test_the_farthest_rows_are_kept_over_batches_with_their_farthest_vector() -> None:
    random = np.random.default_rng(0)
    references, vectors = unit_vectors(random.normal(size=(30, 5))), random.normal(size=(200, 5)).astype(np.float32)
    of_row = np.repeat(np.arange(100), 2)
    far = FarRows(references=references, most=7)
    for start in range(0, 100, 13):
        own = (of_row >= start) & (of_row < start + 13)
        names = [f"r{row}" for row in range(start, min(start + 13, 100))]
        far.add(vectors[own], of_row[own] - start, pa.table({"id": names, "uri": [f"/{each}" for each in names]}))
    distances = 1 - (unit_vectors(vectors) @ references.T).max(axis=1)
    best = np.argsort(-distances.reshape(100, 2).max(axis=1))[:7]
    assert far.ids == [f"r{row}" for row in best]
    assert far.uris == [f"/r{row}" for row in best]
    assert far.vectors is not None
    assert (far.vectors == vectors[2 * best + distances.reshape(100, 2)[best].argmax(axis=1)]).all()
