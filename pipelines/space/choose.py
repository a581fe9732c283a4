"""Which of a table's vector columns is meant."""

import pyarrow as pa

from operators.base.errors import UserError
from pipelines.space.field import SpaceError, read_reductions, read_space, vector_columns


def columns_there(table: str, schema: pa.Schema) -> list[str]:
    """The vector columns, one at least. Raises `SpaceError` for a table that Pixlake did not make."""
    there = vector_columns(schema)
    if not there:
        raise SpaceError(f"table {table}: no column has a recorded space, so it is not one of Pixlake's")
    return there


def choose_column(table: str, schema: pa.Schema, column: str | None) -> str:
    """The vector column asked for, or the only one of a model. Raises `UserError` naming those there."""
    there = columns_there(table, schema)
    if column in there:
        return column
    of_models = [name for name in there if name not in read_reductions(schema)]
    if column is None and 1 in (len(of_models), len(there)):
        return [*of_models, *there][0]
    listed = ", ".join(f"{name} ({read_space(schema.field(name), table)[1].spec.name})" for name in there)
    if column is None:
        raise UserError(f"table {table}: has several vector columns, name one with --column: {listed}")
    raise UserError(f"table {table}: no vector column {column!r}; there: {listed}")
