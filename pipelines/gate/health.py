"""What can be told of vectors without comparing them: are they there, finite, of unit length, and different?"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import ID, SHA256
from operators.vectors.apply import vector_type
from pipelines.gate.duplicates import DuplicateCount, image_hashes, vector_hashes
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.space.flat import flat_vectors

_BATCH_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Health:
    """Counts over the live rows of one column."""

    rows: int
    """Live rows, whatever they hold."""
    filled: int
    """Those with a vector, or several."""
    vectors: int
    not_finite: int
    """Vectors with a NaN or an infinity in them, or with zeros alone."""
    off_norm: int
    """Other vectors whose length is further from 1 than the tolerance."""
    dim: int
    constant: int
    """Numbers of a vector that are the same in all finite vectors; 0 where there are fewer than two."""
    duplicates: int
    """Rows with exactly the vector of another image."""


def share(count: int, of: int) -> float:
    """`count` of `of`; 0 of nothing."""
    return count / of if of else 0.0


class _ColumnTally:
    def __init__(self, dim: int, tolerance: float, scratch: Path) -> None:
        self._dim, self._tolerance = dim, tolerance
        self._first: np.ndarray | None = None
        self._same = np.ones(dim, bool)
        self._filled = self._vectors = self._not_finite = self._off_norm = 0
        self._duplicates = DuplicateCount(scratch)

    def add(self, column: pa.ChunkedArray, images: np.ndarray) -> None:
        """Count in rows of the column; `images` are hashes of what tells them apart."""
        flat = flat_vectors(column)
        filled = flat.counts > 0
        self._filled += int(filled.sum())
        self._vectors += len(flat.values)
        self._duplicates.add(vector_hashes(column)[filled], images[filled])
        values = flat.values.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))
        finite = np.isfinite(norms) & (norms > 0)
        self._not_finite += int((~finite).sum())
        self._off_norm += int((np.abs(norms[finite] - 1) > self._tolerance).sum())
        self._compare(flat.values[finite])

    def _compare(self, values: np.ndarray) -> None:
        """Which numbers of a vector are still the same as in the first one."""
        if not len(values):
            return
        if self._first is None:
            self._first = values[0].copy()
        at = np.flatnonzero(self._same)
        self._same[at] = (values[:, at] == self._first[at]).all(axis=0)

    def health(self, rows: int) -> Health:
        several = self._vectors - self._not_finite > 1
        return Health(
            rows=rows,
            filled=self._filled,
            vectors=self._vectors,
            not_finite=self._not_finite,
            off_norm=self._off_norm,
            dim=self._dim,
            constant=int(self._same.sum()) if several else 0,
            duplicates=self._duplicates.duplicates(),
        )


def measure_health(
    dataset: Any,
    columns: Sequence[str],
    norm_tolerance: float,
    on_rows: Callable[[int], None] = lambda done: None,
) -> dict[str, Health]:
    """The health of several columns of floats, from one plain scan of the live rows. Memory: a batch, and 64 MiB a
    column; the rest of what tells duplicates lies in a temporary folder."""
    schema = dataset.schema
    beside = [SHA256.name] if SHA256.name in schema.names else []
    with tempfile.TemporaryDirectory(prefix="pixlake-gate-") as scratch:
        tallies = {
            name: _ColumnTally(vector_type(schema.field(name).type).list_size, norm_tolerance, Path(scratch) / str(at))
            for at, name in enumerate(columns)
        }
        rows = 0
        for batch in plain_scan(dataset, [*columns, ID.name, *beside], live_rows(schema), batch_size=_BATCH_ROWS):
            read = pa.Table.from_batches([batch])
            images = image_hashes(read[SHA256.name if beside else ID.name], read[ID.name])
            for name, tally in tallies.items():
                tally.add(read[name], images)
            rows += len(read)
            on_rows(rows)
        return {name: tally.health(rows) for name, tally in tallies.items()}
