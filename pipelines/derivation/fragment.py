"""On a worker: columns of a fragment computed from another, written as a data file that nobody has committed yet."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lance.file import LanceFileWriter
from lance.fragment import DataFile

from operators.base.arrays import spread
from operators.base.columns import ID, REGION_ID
from operators.base.failpoints import failpoint
from operators.storage.stores import lance_options
from pipelines.scan.plain import plain_count, plain_scan
from pipelines.scan.sql import sql_column
from pipelines.space.usable_rows import row_kinds
from pipelines.table.fenced_table import FILE_FORMAT
from pipelines.table.table import Table

BATCH_ROWS = 4096
"""Rows of a batch: 20 MB of float32 vectors of 1280 numbers."""
NUM_EXAMPLES = 20

Compute = Callable[[pa.Table], Sequence[pa.Array]]
"""A pure, picklable function from some rows of a fragment to the values of each derived column for them; those of the
first are null where none is possible. The rows have the source column alone, with only vectors of finite numbers. Any
row may be computed twice."""


@dataclass(frozen=True, kw_only=True)
class Derived:
    """The result for one fragment. Travels from worker to driver."""

    fragment_id: int
    source_file: str
    """The data file that the source was read from."""
    data_file: DataFile | None = None
    """The uncommitted file, with a value or null for each physical row; None where the column stays as it is."""
    live_rows: int = 0
    """Rows of the fragment when it was read, deleted ones not counted."""
    rows: int = 0
    """Rows that get a value by this file."""
    without_source: int = 0
    """Rows left null because the source is null."""
    not_finite: int = 0
    """Rows left null because the source has a number in it that is not finite."""
    impossible: int = 0
    """Rows left null because no value can be computed from their source."""
    impossible_ids: tuple[str, ...] = ()
    """`id`, or `region_id`, of up to 20 rows that are `impossible`."""

    @property
    def written_bytes(self) -> int:
        return 0 if self.data_file is None else self.data_file.file_size_bytes or 0


@dataclass(frozen=True, kw_only=True)
class DeriveFragments:
    """The work on some fragments of one version of a table. Declared on the driver, pickled to the workers."""

    table: Table
    version: int
    columns: pa.Schema
    """The derived columns. The first tells whether a row has its values."""
    source: str
    compute: Compute

    def __call__(self, fragment_ids: Sequence[int]) -> list[Derived]:
        """Results as fragments are done. Raises `OSError` where storage fails, `TableError` where the table is gone,
        `ValueError` if `compute` gives something else than it promised."""
        dataset = self.table.at(self.version)
        return [self._derive(dataset, dataset.get_fragment(each)) for each in fragment_ids]

    def _derive(self, dataset: "lance.LanceDataset", fragment: "lance.LanceFragment") -> Derived:
        [source_file] = files_of(fragment, field_ids(dataset, self.source))
        live = fragment.metadata.num_rows
        found = Derived(fragment_id=fragment.fragment_id, source_file=source_file, live_rows=live)
        first = self.columns.field(0).name
        if files_of(fragment, field_ids(dataset, first)):
            seen = _Seen()
            where = f"{sql_column(first)} IS NULL AND {sql_column(self.source)} IS NOT NULL"
            for batch in self._scan(dataset, fragment, where):
                self._values(batch, seen)
            if not seen.rows:
                return Derived(**{**vars(found), **vars(seen)})
        seen = _Seen()
        file = self._write(dataset, fragment, seen)
        return Derived(**{**vars(found), **vars(seen), "data_file": file})

    def _scan(
        self, dataset: "lance.LanceDataset", fragment: "lance.LanceFragment", where: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        columns = [self.source, _label_column(dataset.schema)]
        scanned = plain_scan(fragment, columns, where, with_row_address=True, batch_size=BATCH_ROWS)
        yield from (batch for batch in scanned if batch.num_rows)

    def _write(self, dataset: "lance.LanceDataset", fragment: "lance.LanceFragment", seen: "_Seen") -> DataFile:
        """A data file that covers all physical rows: rows that are or will be deleted have a place in it too."""
        schema = pa.schema([field.remove_metadata() for field in self.columns])
        name = f"{uuid.uuid4()}.lance"
        path = f"{self.table.uri}/data/{name}"
        options = lance_options(self.table.uri, self.table.storage)
        with LanceFileWriter(path, schema, version=FILE_FORMAT, storage_options=options) as writer:
            written = 0
            for batch in self._scan(dataset, fragment):
                places = (batch["_rowaddr"].to_numpy() & 0xFFFFFFFF).astype(np.int64) - written
                rows = int(places[-1]) + 1
                values = [spread(each, places, rows) for each in self._values(batch, seen)]
                writer.write_batch(pa.record_batch(values, schema=schema))
                written += rows
            if written < fragment.physical_rows:
                missing = [pa.nulls(fragment.physical_rows - written, field.type) for field in schema]
                writer.write_batch(pa.record_batch(missing, schema=schema))
        failpoint("derive.written")
        return DataFile.create(dataset, name)

    def _values(self, batch: pa.RecordBatch, seen: "_Seen") -> list[pa.Array]:
        """The columns' values for each row of the batch; adds the batch to the counts in `seen`."""
        rows = pa.table(batch)
        not_finite = row_kinds(rows[self.source]).not_finite
        usable = pc.and_(pc.is_valid(rows[self.source]), pa.array(~not_finite))
        given = rows.filter(usable)
        values = self.compute(given.select([self.source]))
        for column, each in zip(self.columns, values, strict=True):
            if each.type != column.type or len(each) != given.num_rows:
                raise ValueError(
                    f"{column.name}: {len(each)} values of {each.type} for {given.num_rows} rows, expected "
                    f"{column.type}"
                )
        impossible = given.filter(pc.is_null(values[0]))
        seen.rows += given.num_rows - impossible.num_rows
        seen.without_source += rows[self.source].null_count
        seen.not_finite += int(not_finite.sum())
        seen.impossible += impossible.num_rows
        names = impossible[_label_column(rows.schema)][: NUM_EXAMPLES - len(seen.impossible_ids)]
        seen.impossible_ids += tuple(names.to_pylist())
        places = np.flatnonzero(usable.to_numpy())
        return [spread(each, places, rows.num_rows) for each in values]


@dataclass(kw_only=True)
class _Seen:
    """The counts of `Derived`, while they grow."""

    rows: int = 0
    without_source: int = 0
    not_finite: int = 0
    impossible: int = 0
    impossible_ids: tuple[str, ...] = field(default=())


def count_again(fragment: "lance.LanceFragment", column: str, source: str, derived: Derived) -> Derived:
    """The counts of a filled fragment as it is now, after rows were deleted or moved out of it since `derived` was
    made."""
    rows = plain_count(fragment, f"{sql_column(column)} IS NOT NULL")
    without = plain_count(fragment, f"{sql_column(source)} IS NULL")
    left = plain_scan(fragment, [source], f"{sql_column(column)} IS NULL AND {sql_column(source)} IS NOT NULL")
    not_finite = [row_kinds(batch[source]).not_finite for batch in left if batch.num_rows]
    live, bad = fragment.metadata.num_rows, int(sum(each.sum() for each in not_finite))
    counts = {"live_rows": live, "rows": rows, "without_source": without, "not_finite": bad}
    return replace(derived, **counts, impossible=live - rows - without - bad)


def _label_column(schema: pa.Schema) -> str:
    """The name of the column by which a user knows a row."""
    label: str = (REGION_ID if REGION_ID.name in schema.names else ID).name
    return label


def field_ids(dataset: "lance.LanceDataset", *columns: str) -> frozenset[int]:
    """Lance's ids of top-level columns, and of what lies within them. Raises `KeyError` where one is not there."""

    def below(found: Any) -> Iterator[int]:
        yield found.id()
        for child in found.children():
            yield from below(child)

    there = {found.name(): found for found in dataset.lance_schema.fields()}
    return frozenset(each for column in columns for each in below(there[column]))


def files_of(fragment: "lance.LanceFragment", ids: frozenset[int], *, alone: bool = False) -> list[str]:
    """Paths of the fragment's data files that hold columns with these ids; with `alone`, of files that hold nothing
    else."""
    held = [
        (file.path, ids.intersection(file.fields), {each for each in file.fields if each >= 0})
        for file in fragment.metadata.files
    ]
    return [path for path, ours, live in held if ours and not (alone and live - ids)]
