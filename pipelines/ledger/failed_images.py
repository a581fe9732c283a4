"""How many images the failures of a table are of: one that was tried through several manifests has one for each."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from operators.base.columns import ID, ROW, SHARD
from pipelines.scan.plain import plain_scan

TOLD_BY = (ID.name, SHARD.name, ROW.name)
"""Columns by which images are told apart."""
MOST_TOLD_APART = 10_000_000
"""Failures whose ids are held in memory, 8 bytes each."""


class FailedImages:
    """Counts the images of failures that come in batches with the columns `TOLD_BY`."""

    def __init__(self) -> None:
        self._hashes = list[np.ndarray]()
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        if self._rows <= MOST_TOLD_APART:
            self._hashes.append(_hashes(batch))

    @property
    def count(self) -> int | None:
        """None of more than ten million failures."""
        if self._rows > MOST_TOLD_APART:
            return None
        return len(np.unique(np.concatenate([np.zeros(0, np.uint64), *self._hashes])))


def count_failed_images(failures: Any) -> int | None:
    """Of all rows of an open failures table; None of more than ten million."""
    if failures.count_rows() > MOST_TOLD_APART:
        return None
    images = FailedImages()
    for batch in plain_scan(failures, TOLD_BY, in_order=False):
        images.add(batch)
    return images.count


def _hashes(batch: pa.RecordBatch) -> np.ndarray:
    """(N,) uint64: of each row's id; of one without, of its place, so that each counts for itself."""
    pairs: Iterable[Any] = zip(*(batch[name].to_pylist() for name in TOLD_BY), strict=True)
    keys = (id_ if id_ is not None else f"\0{shard} {row}" for id_, shard, row in pairs)
    return np.fromiter((xxhash.xxh3_64_intdigest(key.encode()) for key in keys), np.uint64)
