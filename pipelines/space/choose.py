"""Which of a table's vector columns a user means."""

from collections.abc import Collection, Sequence

import pyarrow as pa

from operators.base.errors import UserError
from pipelines.space.field import SpaceError, read_reductions, read_space, vector_columns

IN_SWAP = ("_next", "_before")
"""Endings of a column's successor until a model swap flips them, and of its predecessor from then on."""


def not_in_swap(columns: Sequence[str]) -> list[str]:
    """The columns that may be meant without being named: not the other one of two in a swap."""
    others = {f"{name}{ending}" for name in columns for ending in IN_SWAP}
    return [name for name in columns if name not in others]


def columns_there(table: str, schema: pa.Schema) -> list[str]:
    """The vector columns, at least one. Raises `SpaceError` for a table that Pixlake did not make."""
    there = vector_columns(schema)
    if not there:
        raise SpaceError(f"table {table}: no column has a recorded space, so it is not one of Pixlake's")
    return there


def base_columns(table: str, schema: pa.Schema) -> list[str]:
    """The columns that models fill, from which others are derived; none where all of these are gone."""
    derived = read_reductions(schema)
    return [name for name in columns_there(table, schema) if name not in derived]


def choose_base(
    asked: str | None, bases: Sequence[str], *, where: str, option: str, derived: Collection[str] = ()
) -> str:
    """The model's column that is asked for, or the only one.

    `where` and `option` tell the user which table and which option this is about. Raises `UserError` naming the columns
    of models.
    """
    live = not_in_swap(bases)
    if asked in bases or (asked is None and len(live) == 1):
        return asked or live[0]
    if not bases:
        raise UserError(f"{where}: holds derived columns alone ({', '.join(derived)}); the column of a model is needed")
    if asked is None:
        raise UserError(f"{where}: has several columns of models, name one with {option}: {', '.join(bases)}")
    what = "is derived itself" if asked in derived else "is no vector column"
    raise UserError(f"{where}: {option} {asked} {what}; columns of models: {', '.join(bases)}")


def choose_column(table: str, schema: pa.Schema, column: str | None) -> str:
    """The vector column asked for, or the only model's column. Raises `UserError` naming the columns there."""
    there = columns_there(table, schema)
    if column in there:
        return column
    of_models = not_in_swap([name for name in there if name not in read_reductions(schema)])
    if column is None and 1 in (len(of_models), len(there)):
        return [*of_models, *there][0]
    listed = ", ".join(f"{name} ({read_space(schema.field(name), table)[1].spec.name})" for name in there)
    if column is None:
        raise UserError(f"table {table}: has several vector columns, name one with --column: {listed}")
    raise UserError(f"table {table}: no vector column {column!r}; there: {listed}")
