"""Columns that other tools add, alter and drop."""

import random
from typing import Any

import pyarrow as pa

from state_machine.expected_codes import derived_columns
from state_machine.foretold import Foretold, changed, foretell, happened
from state_machine.operations import has_rows, has_table, operation
from state_machine.world import World


def _state(world: World) -> Any:
    assert world.vectors is not None
    return world.vectors


def with_column(world: World, field: pa.Field, value: Any) -> Any:
    """The state with one column more; `value` of a row, or the same for all."""
    state = _state(world)
    of = value if callable(value) else lambda row: value
    return foretell(state, [changed(row, **{field.name: of(row)}) for row in state.rows], state.schema.append(field))


def add_nullable(world: World, random: random.Random) -> Foretold:
    field = pa.field(f"their_{next(world.numbers)}", random.choice([pa.int32(), pa.string(), pa.bool_()]))
    return Foretold(lambda: world.dataset().add_columns(pa.schema([field])), with_column(world, field, None))


def add_computed(world: World, random: random.Random) -> Foretold:
    """By SQL, from a column that takes nulls."""
    field = pa.field(f"their_{next(world.numbers)}", pa.float32())
    after = with_column(world, field, lambda row: None if row["grade"] is None else row["grade"] * 2)
    return Foretold(lambda: world.lancedb().add_columns({field.name: "cast(grade * 2 as float)"}), after)


def add_not_null(world: World, random: random.Random) -> Foretold:
    """As LanceDB's documentation has it."""
    field = pa.field(f"their_{next(world.numbers)}", pa.int32(), nullable=False)
    return Foretold(lambda: world.lancedb().add_columns({field.name: "cast(0 as int)"}), with_column(world, field, 0))


def drop_column(world: World, name: str) -> Foretold:
    state = _state(world)
    schema = pa.schema([each for each in state.schema if each.name != name], state.schema.metadata)
    rows = [{key: value for key, value in row.items() if key != name} for row in state.rows]
    return Foretold(lambda: world.lancedb().drop_columns([name]), foretell(state, rows, schema))


def altered(world: World, column: str, **change: Any) -> Foretold:
    """`change` is what LanceDB's `alter_columns` takes: rename, nullable, data_type."""
    state = _state(world)
    old = state.schema.field(column)
    new = old.with_name(change.get("name", column)).with_type(change.get("data_type", old.type))
    new = new.with_nullable(change.get("nullable", old.nullable))
    schema = state.schema.set(state.schema.get_field_index(column), new)
    rows = [{new.name if key == column else key: value for key, value in row.items()} for row in state.rows]
    alteration = {"path": column, **change}
    return Foretold(lambda: world.dataset().alter_columns(alteration), foretell(state, rows, schema))


def is_flag(world: World, column: str) -> bool:
    return pa.types.is_boolean(_state(world).schema.field(column).type)


def castable(world: World, column: str) -> bool:
    """Lance does not cast a column that has an index."""
    return not any(index.field_names == [column] for index in world.dataset().describe_indices())


def _foreign(world: World, random: random.Random) -> pa.Field:
    return _state(world).schema.field(random.choice(world.foreign_columns()))


def has_foreign(world: World) -> bool:
    return world.vectors is not None and bool(world.foreign_columns())


@operation(has_rows)
def their_nullable_column(world: World, random: random.Random) -> None:
    happened(world, add_nullable(world, random))


@operation(has_rows)
def their_computed_column(world: World, random: random.Random) -> None:
    happened(world, add_computed(world, random))


@operation(has_rows)
def their_not_null_column(world: World, random: random.Random) -> None:
    happened(world, add_not_null(world, random))


@operation(has_foreign)
def their_rename_of_a_column(world: World, random: random.Random) -> None:
    happened(world, altered(world, _foreign(world, random).name, name=f"their_{next(world.numbers)}"))


@operation(has_foreign, weight=2)
def their_column_takes_nulls(world: World, random: random.Random) -> None:
    strict = [name for name in world.foreign_columns() if not _state(world).schema.field(name).nullable]
    if strict:
        happened(world, altered(world, random.choice(strict), nullable=True))


@operation(has_foreign)
def their_change_of_a_type(world: World, random: random.Random) -> None:
    field = _foreign(world, random)
    if field.type == pa.int32() and castable(world, field.name):
        happened(world, altered(world, field.name, data_type=pa.int64()))


@operation(has_foreign)
def their_drop_of_a_column(world: World, random: random.Random) -> None:
    happened(world, drop_column(world, _foreign(world, random).name))


@operation(lambda world: world.vectors is not None and bool(derived_columns(world.vectors.schema)))
def their_drop_of_a_derived_column(world: World, random: random.Random) -> None:
    happened(world, drop_column(world, random.choice(sorted(derived_columns(_state(world).schema)))))


@operation(has_table)
def their_change_of_a_kept_column(world: World, random: random.Random) -> None:
    """To another type, and back."""
    if _state(world).schema.field("grade").type == pa.float32() and castable(world, "grade"):
        happened(world, altered(world, "grade", data_type=pa.float64()))


@operation(has_table, weight=2)
def their_kept_column_is_as_it_was(world: World, random: random.Random) -> None:
    if _state(world).schema.field("grade").type != pa.float32() and castable(world, "grade"):
        happened(world, altered(world, "grade", data_type=pa.float32()))
