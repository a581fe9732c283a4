"""Rows of a batch: made of URIs; which are good, how one is failed or left undone, and how a column is set."""

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ERROR_CLASS, ERROR_FIELDS, ID, SOURCE_SCHEMA, URI, VECTOR
from operators.base.errors import NOT_ATTEMPTED, SAME_BYTES, Failure


def source_rows(uris: Sequence[str | None], ids: Sequence[str] | None = None) -> pa.Table:
    """Rows of `SOURCE_SCHEMA` for images outside of any manifest, as the operators read them."""
    columns = {field.name: pa.nulls(len(uris), field.type) for field in SOURCE_SCHEMA}
    columns |= {"shard": pa.array([0] * len(uris), pa.int32()), "row": pa.array(range(len(uris)), pa.int32())}
    columns |= {URI.name: pa.array(uris, URI.type)}
    if ids is not None:
        columns[ID.name] = pa.array(ids, ID.type)
    return pa.Table.from_pydict(columns, schema=SOURCE_SCHEMA)


def about_column(column: str, message: str) -> str:
    """The message of a row that fails for one model: where a run has several, it names the vector column."""
    return message if column == VECTOR else f"{column}: {message}"


def set_column(table: pa.Table, field: pa.Field, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with `field` replaced where it stands, or appended."""
    index = table.schema.get_field_index(field.name)
    if index < 0:
        return table.append_column(field, values)
    return table.set_column(index, field, values)


def good_rows(table: pa.Table) -> pa.ChunkedArray:
    """Boolean per row: true where no operator has failed the row."""
    return pc.is_null(table[ERROR_CLASS.name])


def fail_rows(table: pa.Table, failures: Mapping[int, Failure], stage: str) -> pa.Table:
    """The table with the error columns filled at the given row indices; other rows are left as they are."""
    return _with_errors(table, {row: _error_cells(failure, stage) for row, failure in failures.items()})


def leave_undone(table: pa.Table, reasons: Mapping[int, str], stage: str) -> pa.Table:
    """The table with the given row indices marked as not attempted: skipped like failed rows, but not failures."""
    return _with_errors(table, {row: (stage, NOT_ATTEMPTED, reason, None, None) for row, reason in reasons.items()})


def mark_same(table: pa.Table, rows: Iterable[int], stage: str) -> pa.Table:
    """The table with the given row indices marked as images whose vectors are there: skipped like failed rows, but not
    failures."""
    return _with_errors(table, dict.fromkeys(rows, (stage, SAME_BYTES, None, None, None)))


def _error_cells(failure: Failure, stage: str) -> tuple[object, ...]:
    attempts = min(failure.attempts, 32767)
    return stage, str(failure.error_class), failure.message, failure.http_status, attempts


def _with_errors(table: pa.Table, cells: Mapping[int, tuple[object, ...]]) -> pa.Table:
    """The values of `ERROR_FIELDS` at the given row indices."""
    if not cells:
        return table
    columns: dict[str, list[object]] = {f.name: table[f.name].to_pylist() for f in ERROR_FIELDS}
    for row, values in cells.items():
        for field, value in zip(ERROR_FIELDS, values, strict=True):
            columns[field.name][row] = value
    for field in ERROR_FIELDS:
        table = set_column(table, field, pa.array(columns[field.name], field.type))
    return table
