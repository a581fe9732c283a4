"""A principal component analysis of a vector column, its sums made on workers, fragment by fragment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa

from operators.base.errors import UserError
from operators.vectors.exact_sums import GRID_BITS, ExactSums
from operators.vectors.pca_fit import FittedPca, fit_pca
from pipelines.space.samples import row_sample
from pipelines.table.positions import table_keys
from pipelines.table.table import Table
from pipelines.table.tasks import RunTasks, fragment_groups, tasks_here

_BATCH_ROWS = 4096
_FEWEST_ROWS, _MOST_ROWS = 65_536, 4_194_304
"""Rows of a task: enough that its sums of 26 MB are worth sending, few enough that a lost task costs only minutes."""
_TASKS = 256


@dataclass(frozen=True, kw_only=True)
class Summed:
    """The sums of one task."""

    sums: ExactSums
    table_rows: int = 0
    """Rows read, whatever they hold."""
    without_vector: int = 0
    not_finite: int = 0
    """Vectors left out: null, and with a NaN or an infinity in them."""


@dataclass(frozen=True, kw_only=True)
class SumFragments:
    """The work on some fragments of one version of a table. Declared on the driver, pickled to the workers."""

    table: Table
    version: int
    column: str
    fraction: float | None = None
    """The share of the rows to read, or None for all."""

    def __call__(self, fragment_ids: Sequence[int]) -> Summed:
        """The sums of some fragments. Raises `OSError` where storage fails, `TableError` where the table is gone,
        `UserError` for numbers too large to sum exactly."""
        dataset = self.table.at(self.version)
        dim, grid_bits = vector_grid(dataset.schema.field(self.column))
        sums, table_rows, without, not_finite = ExactSums(dim, grid_bits), 0, 0, 0
        for each in fragment_ids:
            for rows in self._read(dataset.get_fragment(each)):
                found = rows.flatten() if pa.types.is_list(rows.type) else rows
                without += found.null_count + (rows.null_count if found is not rows else 0)
                vectors_ND = found.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
                finite = np.isfinite(vectors_ND).all(axis=1)
                not_finite += int((~finite).sum())
                sums.add(vectors_ND if finite.all() else vectors_ND[finite])
                table_rows += len(rows)
        return Summed(sums=sums, table_rows=table_rows, without_vector=without, not_finite=not_finite)

    def _read(self, fragment: "lance.LanceFragment") -> Iterator[pa.Array]:
        if self.fraction is None:
            for batch in fragment.scanner(columns=[self.column], batch_size=_BATCH_ROWS).to_batches():
                yield batch[self.column]
            return
        # Positions take next to no room, so that vectors outside of the sample are not read.
        keys = table_keys(fragment.scanner(columns=["shard", "row"]).to_table())
        wanted = np.flatnonzero(row_sample(keys, self.fraction))
        for start in range(0, len(wanted), _BATCH_ROWS):
            rows = fragment.take(wanted[start : start + _BATCH_ROWS].tolist(), columns=[self.column])
            yield from rows[self.column].chunks


def vector_grid(field: pa.Field) -> tuple[int, int]:
    """(dim, bits of the grid on which the vectors are summed) of a column of float vectors, one or several a row.

    Raises `UserError` for any other column.
    """
    kind = field.type.value_type if pa.types.is_list(field.type) else field.type
    names = {pa.float16(): "float16", pa.float32(): "float32"}
    if not pa.types.is_fixed_size_list(kind) or kind.value_type not in names:
        raise UserError(f"column {field.name}: {field.type}; a PCA is fitted on float16 or float32 vectors")
    return kind.list_size, GRID_BITS[names[kind.value_type]]


@dataclass(frozen=True, kw_only=True)
class PcaOfTable:
    """A PCA, and what it was fitted on."""

    pca: FittedPca
    version: int
    """Version of the table."""
    rows: int
    """Vectors that it was fitted on."""
    table_rows: int
    """Rows of the table that were read for these vectors: all, or the sample."""
    without_vector: int
    not_finite: int


def fit_pca_of_table(
    table: Table,
    version: int,
    column: str,
    dim: int | float,
    *,
    whiten: bool = False,
    sample: int | None = None,
    execute: RunTasks = tasks_here,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> PcaOfTable:
    """The PCA of all vectors in the column, or of those of about `sample` rows.

    The same rows give the same bytes, however they are cut into fragments and tasks and in whatever order these end. A
    sample is the same rows of the same version. After each task `on_rows` is called with the rows read and the rows in
    all. Raises `UserError` for a column that holds no float vectors, or too few for what is asked.
    """
    dataset = table.at(version)
    field = dataset.schema.field(column)
    total = dataset.count_rows()
    fraction = sample / total if sample is not None and sample < total else None
    task = SumFragments(table=table, version=version, column=column, fraction=fraction)
    read = int(total * (fraction or 1.0))
    rows_a_task = min(max(read // _TASKS, _FEWEST_ROWS), _MOST_ROWS) / (fraction or 1.0)
    sums, table_rows, without, not_finite = ExactSums(*vector_grid(field)), 0, 0, 0
    for summed in execute(task, fragment_groups(dataset.get_fragments(), int(rows_a_task))):
        sums.merge(summed.sums)
        table_rows += summed.table_rows
        without += summed.without_vector
        not_finite += summed.not_finite
        on_rows(table_rows, read)
    return PcaOfTable(
        pca=fit_pca(sums, dim, whiten=whiten),
        version=dataset.version,
        rows=sums.rows,
        table_rows=table_rows,
        without_vector=without,
        not_finite=not_finite,
    )
