"""Rows of a table written again with the values of their record that are new: vectors and all else stay as they are."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lance.fragment import FragmentMetadata, write_fragments

from operators.base.columns import ID, REGION, REGION_ID
from operators.storage.stores import lance_options
from pipelines.table.errors import TableError
from pipelines.table.fenced_table import FILE_FORMAT
from pipelines.table.landing import check_nulls
from pipelines.table.table import Table


def carried(rows: pa.Table, values: pa.Table) -> pa.Table:
    """The rows with the columns that `values` has, row by row, in place of their own. A row of a region is called by
    its image's new id."""
    for field in rows.schema:
        if field.name in values.column_names:
            at = rows.schema.get_field_index(field.name)
            rows = rows.set_column(at, field, values[field.name].cast(field.type))
    if ID.name in values.column_names and REGION_ID.name in rows.column_names:
        number = pc.cast(pc.struct_field(rows[REGION.name], "index"), pa.string())
        named = pc.binary_join_element_wise(rows[ID.name], number, "#")
        # What another tool has written without a region keeps the name that it gave it.
        named = pc.coalesce(named, rows[REGION_ID.name])
        at = rows.schema.get_field_index(REGION_ID.name)
        rows = rows.set_column(at, rows.schema.field(at), named)
    return rows


@dataclass(frozen=True, kw_only=True)
class CarriedPiece:
    """Some rows to write again. Plain data, pickled to workers."""

    row_ids: np.ndarray
    """(N,) uint64: Lance's ids of the rows to read; one may be there several times."""
    values: pa.Table
    """N rows: the new values of each."""


@dataclass(frozen=True, kw_only=True)
class CarryPieces:
    """The work on one version of a table. Declared on the driver, pickled to the workers."""

    table: Table
    version: int

    def __call__(self, piece: CarriedPiece) -> str:
        """Write a piece and commit nothing; gives the fragments as JSON. Raises `OSError` where storage fails,
        `TableError` where the version or a row of it is gone, `RefusedError` for nulls where a column takes none."""
        dataset = self.table.at(self.version)
        wanted = len(piece.row_ids)
        # The one call of pylance that takes row ids, whether they are stable or addresses.
        rows = dataset._take_rows(piece.row_ids.tolist(), columns=dataset.schema.names)
        if len(rows) != wanted:
            raise TableError(f"{self.table.uri}: {wanted - len(rows)} of {wanted} rows of a version could not be read")
        rows = carried(rows, piece.values).combine_chunks()
        check_nulls(self.table.uri, rows, dataset.schema)
        fragments: list[FragmentMetadata] = write_fragments(
            rows,
            dataset,
            schema=dataset.schema,
            mode="append",
            data_storage_version=FILE_FORMAT,
            storage_options=lance_options(self.table.uri, self.table.storage),
        )
        written = sum(fragment.physical_rows for fragment in fragments)
        if written != wanted:
            raise OSError(f"{self.table.uri}: {wanted} rows given, {written} written; nothing of them was committed")
        return json.dumps([fragment.to_json() for fragment in fragments])
