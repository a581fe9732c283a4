"""Exact sums over pairs of vectors, new and old, made on workers fragment by fragment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.vectors.exact_sums import ExactSums
from pipelines.derivation.fit_pca import vector_grid
from pipelines.scan.plain import plain_scan
from pipelines.space.flat import flat_vectors
from pipelines.space.samples import row_sample
from pipelines.table.positions import table_keys
from pipelines.table.table import Table

_BATCH_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class PairsSummed:
    """The sums of one task."""

    sums: ExactSums
    """Over vectors of the new one's numbers and then the old one's."""
    table_rows: int
    """Rows read, whatever they hold."""


@dataclass(frozen=True, kw_only=True)
class SumPairs:
    """The work on some fragments of one version of a table. Declared on the driver, pickled to the workers."""

    table: Table
    version: int
    new: str
    old: str
    held_out: float
    """The share of the images that are left out, to measure on."""

    def __call__(self, fragment_ids: Sequence[int]) -> PairsSummed:
        """The sums of some fragments. Raises `OSError` where storage fails, `TableError` where the table is gone,
        `UserError` for columns or numbers that cannot be summed exactly."""
        dataset = self.table.at(self.version)
        sums, rows = no_pairs(dataset.schema, self.new, self.old), 0
        for each in fragment_ids:
            fragment = dataset.get_fragment(each)
            for batch in plain_scan(fragment, ["shard", "row", self.new, self.old], batch_size=_BATCH_ROWS):
                rows += len(batch)
                fitted = batch.filter(pa.array(~row_sample(table_keys(batch), self.held_out)))
                new_ND, old_ND = vector_pairs(fitted[self.new], fitted[self.old])
                if len(new_ND):
                    sums.add(np.concatenate([new_ND.astype(np.float32), old_ND.astype(np.float32)], axis=1))
        return PairsSummed(sums=sums, table_rows=rows)


def no_pairs(schema: pa.Schema, new: str, old: str) -> ExactSums:
    """The sums over nothing, of two columns of floats. Raises `UserError` for other columns."""
    (new_dim, new_bits), (old_dim, old_bits) = (vector_grid(schema.field(name)) for name in (new, old))
    return ExactSums(new_dim + old_dim, max(new_bits, old_bits))


def vector_pairs(new: pa.Array, old: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """((M, new dim), (M, old dim)) as stored: vectors of rows that have both, and as many of each; pairs with a number
    that is not finite are left out."""
    of_new, of_old = flat_vectors(pa.chunked_array([new])), flat_vectors(pa.chunked_array([old]))
    paired = of_new.counts == of_old.counts
    new_ND, old_ND = (flat.values[np.repeat(paired, flat.counts)] for flat in (of_new, of_old))
    finite = np.isfinite(new_ND).all(axis=1) & np.isfinite(old_ND).all(axis=1)
    return new_ND[finite], old_ND[finite]
