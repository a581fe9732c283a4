"""On a worker: the new column of a fragment taken from the side table, as a data file that nobody has committed yet."""

import uuid
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa
from lance.file import LanceFileWriter
from lance.fragment import DataFile

from operators.base.arrays import spread
from operators.base.failpoints import failpoint
from operators.storage.stores import lance_options
from pipelines.derivation.fragment import field_ids, files_of
from pipelines.scan.plain import plain_scan
from pipelines.swap.hashed import content_columns, same_content
from pipelines.table.fenced_table import FILE_FORMAT
from pipelines.table.table import Table

_BATCH_ROWS = 4096
"""Rows of a batch: 20 MB of float32 vectors of 1280 numbers."""


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """Rows of a fragment without a new vector, for which the side table may have one."""

    fragment_id: int
    offsets: np.ndarray
    """(M,) int64, ascending; a row comes once for each of its addresses."""
    addresses: np.ndarray
    """(M,) uint64: rows of the side table."""


@dataclass(frozen=True, kw_only=True)
class FilledFragment:
    """The result for one fragment. Travels from worker to driver."""

    fragment_id: int
    files: tuple[str, ...]
    """Paths of the data files that held the column when it was read."""
    data_file: DataFile | None
    """The uncommitted file, with a value or null for each physical row; None where no row gets one."""
    rows: int
    """Rows that get a value by it."""


@dataclass(frozen=True, kw_only=True)
class FillFragment:
    """The work on fragments of one version of a table. Declared on the driver, pickled to the workers."""

    table: Table
    version: int
    side: Table
    side_version: int
    side_column: str
    field: pa.Field

    def __call__(self, lacking: Lacking) -> FilledFragment:
        """Raises `OSError` where storage fails, `TableError` where one of the tables is gone."""
        dataset, side = self.table.at(self.version), self.side.at(self.side_version)
        fragment = dataset.get_fragment(lacking.fragment_id)
        files = tuple(files_of(fragment, field_ids(dataset, self.field.name)))
        schema = pa.schema([self.field.remove_metadata()])
        name, filled, written = f"{uuid.uuid4()}.lance", 0, 0
        columns = [*content_columns(dataset.schema), *([self.field.name] if files else [])]
        options = lance_options(self.table.uri, self.table.storage)
        with LanceFileWriter(
            f"{self.table.uri}/data/{name}", schema, version=FILE_FORMAT, storage_options=options
        ) as writer:
            for batch in plain_scan(fragment, columns, with_row_address=True, batch_size=_BATCH_ROWS):
                if not batch.num_rows:
                    continue
                offsets = (batch["_rowaddr"].to_numpy() & 0xFFFFFFFF).astype(np.int64)
                values, new = self._values(pa.table(batch), offsets, lacking, side)
                filled += new
                values = spread(values, offsets - written, int(offsets[-1]) + 1 - written)
                writer.write_batch(pa.record_batch([values], schema=schema))
                written += len(values)
            if written < fragment.physical_rows:
                missing = pa.nulls(fragment.physical_rows - written, self.field.type)
                writer.write_batch(pa.record_batch([missing], schema=schema))
        failpoint("swap.written")
        file = DataFile.create(dataset, name) if filled else None
        return FilledFragment(fragment_id=lacking.fragment_id, files=files, data_file=file, rows=filled)

    def _values(
        self, rows: pa.Table, offsets: np.ndarray, lacking: Lacking, side: "lance.LanceDataset"
    ) -> tuple[pa.Array, int]:
        """(values of the rows: those they have, and those that the side table has for them; how many are new)."""
        first, last = np.searchsorted(lacking.offsets, [offsets[0], offsets[-1] + 1])
        there = (
            rows[self.field.name].combine_chunks()
            if self.field.name in rows.column_names
            else pa.nulls(rows.num_rows, self.field.type)
        )
        asked, addresses = lacking.offsets[first:last], lacking.addresses[first:last]
        places = np.searchsorted(offsets, asked)
        live = offsets[np.minimum(places, len(offsets) - 1)] == asked
        places, addresses = places[live], addresses[live]
        if not len(places):
            return there, 0
        columns = [*content_columns(rows.schema), self.side_column]
        taken = _take(side, addresses, columns)
        good = same_content(rows.take(pa.array(places)), taken) & taken[self.side_column].is_valid().to_numpy()
        places, at = places[good], np.flatnonzero(good)
        chosen = np.arange(rows.num_rows)
        chosen[places] = rows.num_rows + at
        new = len(np.unique(places))
        made = taken[self.side_column].combine_chunks().cast(self.field.type)
        return pa.concat_arrays([there, made]).take(pa.array(chosen)), new


def _take(side: "lance.LanceDataset", addresses: np.ndarray, columns: list[str]) -> pa.Table:
    """Columns of rows of the side table, in the order of `addresses`; they are read in the table's own order."""
    wanted, back = np.unique(addresses, return_inverse=True)
    taken: pa.Table = side._take_rows(wanted.tolist(), columns=columns)
    return taken.take(pa.array(back.reshape(-1)))
