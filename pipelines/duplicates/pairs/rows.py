"""The rows that duplicates are looked for among, each by a number: its place among the rows of one version of the
table that match, in the table's order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import REGION
from operators.base.errors import UserError
from pipelines.duplicates.pairs.exact import digest_keys, first_of_each, with_boxes
from pipelines.export.plan import Part, Slice, count_fragments, plan_parts
from pipelines.scan.plain import reading
from pipelines.table.layout import layout_of
from pipelines.table.table import Table

MOST_ROWS = 2**32 - 1
SHA256 = "sha256"
_SCAN_ROWS = 1_000_000
_BATCH_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class MatchingRows:
    """Which rows they are. Plain data: workers open the table themselves."""

    table: Table
    version: int
    where: str | None
    """Lance's SQL; None for all rows."""
    counts: tuple[tuple[int, int], ...]
    """(fragment id, rows of it that match), in order."""

    @classmethod
    def of(cls, table: Table, dataset: Any, where: str | None) -> "MatchingRows":
        """Counts them by a scan. Raises `FilterError` for a filter that fails on a row, `UserError` for more rows than
        have a number."""
        counts = tuple(count_fragments(dataset, where))
        rows = sum(count for _, count in counts)
        if rows > MOST_ROWS:
            raise UserError(f"table {table}: {rows:,} rows are more than the {MOST_ROWS:,} that are compared at once")
        return cls(table=table, version=dataset.version, where=where, counts=counts)

    def __len__(self) -> int:
        return sum(count for _, count in self.counts)

    def parts(self, rows: int) -> list[Part]:
        """Parts of so many consecutive rows; the last may have fewer."""
        return list(plan_parts(self.counts, rows)) if len(self) else []

    def read(
        self, part: Part, columns: Sequence[str], *, with_row_id: bool = False, batch_size: int = _BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Columns of the rows of a part, in order. Raises `UserError` where they are not as many as were counted,
        `TableError` where the version is gone, `OSError`."""
        dataset, rows = self.table.at(self.version), 0
        for piece in part.slices:
            for batch in self._slice(dataset, piece, columns, with_row_id, batch_size):
                rows += batch.num_rows
                yield batch
        if rows != part.rows:
            raise UserError(
                f"the filter {self.where!r} does not always give the same rows: {part.rows:,} were counted, {rows:,} "
                "read; use one that depends on the row alone"
            )

    def _slice(
        self, dataset: Any, piece: Slice, columns: Sequence[str], with_row_id: bool, batch_size: int
    ) -> Iterator[pa.RecordBatch]:
        scanner = dataset.get_fragment(piece.fragment).scanner(
            columns=list(columns),
            filter=self.where,
            use_scalar_index=False,
            offset=piece.offset,
            limit=piece.rows,
            with_row_id=with_row_id,
            batch_size=batch_size,
        )
        with reading(dataset):
            yield from scanner.to_batches()

    def scan(self, columns: Sequence[str], *, with_row_id: bool = False) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of its first row, batch) over all rows."""
        first = 0
        for part in self.parts(_SCAN_ROWS):
            for batch in self.read(part, columns, with_row_id=with_row_id, batch_size=65_536):
                yield first, batch
                first += batch.num_rows


def first_with_bytes(rows: MatchingRows, schema: pa.Schema) -> np.ndarray:
    """(N,) uint32: for each row the first row of the same sha256, of regions with the same box too; itself where there
    is none."""
    if SHA256 not in schema.names:
        return np.arange(len(rows), dtype=np.uint32)
    keys, there = np.zeros((len(rows), 2), np.uint64), np.zeros(len(rows), bool)
    region = [REGION.name] if layout_of(schema) == "rows" else []
    for first, batch in rows.scan([SHA256, *region]):
        some = slice(first, first + batch.num_rows)
        keys[some], there[some] = digest_keys(batch[SHA256])
        if region:
            keys[some] = with_boxes(keys[some], batch[REGION.name])
    return first_of_each(keys, there)


def row_ids_of(rows: MatchingRows, numbers: np.ndarray) -> np.ndarray:
    """(M,) uint64: Lance's `_rowid` of rows by their numbers, ascending."""
    found = np.zeros(len(numbers), np.uint64)
    for first, batch in rows.scan([], with_row_id=True):
        low, high = np.searchsorted(numbers, [first, first + batch.num_rows])
        found[low:high] = batch["_rowid"].to_numpy()[numbers[low:high] - first]
    return found
