"""Batch by batch the same as all at once: the best rows, those read first where they are equal, none that is hidden."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.neighbours.exact import keep_best, none_yet, score

QUERIES, ROWS, BATCH = 3, 1000, 70


@pytest.mark.parametrize("k", [1, 10, 400])
def test_batch_by_batch_as_all_at_once(k: int) -> None:
    scores = np.random.default_rng(k).integers(0, 99, (QUERIES, ROWS)).astype("f4")
    hidden = np.arange(ROWS) % 7 == 0
    best = none_yet(QUERIES)
    for start in range(0, ROWS, BATCH):
        own = np.arange(start, min(start + BATCH, ROWS))
        batch = pa.record_batch({"number": own, "_rowid": (own + 10_000).astype(np.uint64)})
        scored = score(batch, "number", ~hidden[own], lambda numbers: scores[:, numbers.to_numpy()])
        assert scored.rows["number"].to_pylist() == own[~hidden[own]].tolist()
        best = keep_best(best, scored, k)
    for of_query, found in zip(scores, best, strict=True):
        expected = sorted(np.flatnonzero(~hidden).tolist(), key=lambda at: (-of_query[at], at))[:k]
        assert found.row_ids.tolist() == [at + 10_000 for at in expected]
        assert found.scores.tolist() == of_query[expected].tolist()
