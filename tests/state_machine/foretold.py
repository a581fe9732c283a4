"""What another tool does to a table, with what the table must hold after it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from state_machine.expected_codes import _NUMPY
from state_machine.read_back import Row, TableState, difference, position_of
from state_machine.world import World, must


@dataclass(frozen=True)
class Foretold:
    """`act` changes the vector table, or the failures table, for real."""

    act: Callable[[], Any]
    vectors: TableState | None = None
    """None where nothing of it changes."""
    failures: TableState | None = None
    deleted: Sequence[Row] = ()
    """Rows that are taken out on purpose."""

    def happens(self, world: World) -> None:
        self.act()
        world.vectors, world.failures = self.vectors or world.vectors, self.failures or world.failures
        world.deleted |= {position_of(row) for row in self.deleted}


def foretell(
    state: TableState | None, rows: Iterable[Row] | None = None, schema: pa.Schema | None = None
) -> TableState:
    """The state with other rows or columns, of a version that is not known yet. Lance may drop indexes with them."""
    assert state is not None
    fresh = state.rows if rows is None else tuple(rows)
    indexes = state.indexes if schema is None else frozenset()
    return replace(state, version=-1, rows=fresh, schema=state.schema if schema is None else schema, indexes=indexes)


def happened(world: World, foretold: Foretold) -> None:
    """Another tool has done it, and nothing else has changed."""
    foretold.happens(world)
    world.stay_out |= {position_of(row) for row in foretold.deleted} & world.noted
    vectors, failures = world.look()
    for before, after in ((world.vectors, vectors), (world.failures, failures)):
        if before is None or after is None:
            must(before is after, "a table came or went")
            continue
        told = [(each.name, each.type, each.nullable) for each in before.schema]
        seen = [(each.name, each.type, each.nullable) for each in after.schema]
        must(sorted(told, key=str) == sorted(seen, key=str), f"columns {seen}, foretold {told}")
        lost, came = difference(before.rows, after.rows, before.columns)
        must(not lost and not came, f"foretold and not there: {lost}; there and not foretold: {came}")
    world.keep(vectors, failures)


def changed(row: Row, **values: Any) -> Row:
    return {**row, **values}


def as_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Plain rows as another tool would give them."""
    columns = []
    for each in schema:
        values = [row.get(each.name) for row in rows]
        if pa.types.is_fixed_size_list(each.type):
            kind = _NUMPY[each.type.value_type]
            values = [None if value is None else np.frombuffer(value, kind).tolist() for value in values]
        columns.append(pa.array(values, each.type))
    return pa.table(columns, schema=schema.remove_metadata())
