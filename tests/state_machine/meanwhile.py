"""What another tool does in the middle of a run of ours."""

import random
from collections.abc import Callable

import lance
import pyarrow as pa

from state_machine.expected_codes import derived_columns
from state_machine.foretold import Foretold
from state_machine.operations import has_rows
from state_machine.their_columns import add_not_null, add_nullable, altered, castable, drop_column
from state_machine.their_rows import add_rows, delete_rows, far, update_id, update_label
from state_machine.world import World

NOTHING = Foretold(lambda: None)
Plan = Callable[[World, random.Random], Foretold]


def _add(world: World, random: random.Random) -> Foretold:
    return add_rows(world, random, [far(world)])


def _compact(world: World, random: random.Random) -> Foretold:
    return Foretold(lambda: lance.dataset(world.vectors_uri).optimize.compact_files())


def _change_a_type(world: World, random: random.Random) -> Foretold:
    assert world.vectors is not None
    other = pa.float64() if world.vectors.schema.field("grade").type == pa.float32() else pa.float32()
    return altered(world, "grade", data_type=other) if castable(world, "grade") else NOTHING


def _drop_a_derived_column(world: World, random: random.Random) -> Foretold:
    assert world.vectors is not None
    derived = sorted(derived_columns(world.vectors.schema))
    return drop_column(world, random.choice(derived)) if derived else NOTHING


def _drop_a_foreign_column(world: World, random: random.Random) -> Foretold:
    return drop_column(world, random.choice(world.foreign_columns())) if world.foreign_columns() else NOTHING


MEANWHILE: dict[str, Plan] = {
    "meanwhile_delete": delete_rows,
    "meanwhile_update": update_label,
    "meanwhile_update_of_an_id": update_id,
    "meanwhile_add": _add,
    "meanwhile_compaction": _compact,
    "meanwhile_nullable_column": add_nullable,
    "meanwhile_not_null_column": add_not_null,
    "meanwhile_change_of_a_type": _change_a_type,
    "meanwhile_drop_of_a_derived_column": _drop_a_derived_column,
    "meanwhile_drop_of_a_foreign_column": _drop_a_foreign_column,
}


def foretold_meanwhile(world: World, random: random.Random) -> tuple[str, Foretold]:
    if not has_rows(world):
        return "meanwhile_nothing", NOTHING
    name = random.choice(list(MEANWHILE))
    return name, MEANWHILE[name](world, random)
