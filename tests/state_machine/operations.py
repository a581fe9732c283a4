"""The operations that the machine mixes, by name: each changes the tables, foretells what is in them, and compares."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from state_machine.world import World

Act = Callable[[World, random.Random], None]


@dataclass(frozen=True)
class Operation:
    """`act` raises `Fault` where the tables are not what they must be."""

    act: Act
    needs: Callable[[World], bool]
    weight: int


OPERATIONS: dict[str, Operation] = {}


def has_rows(world: World) -> bool:
    return world.vectors is not None and bool(world.vectors.rows)


def has_table(world: World) -> bool:
    return world.vectors is not None


def always(world: World) -> bool:
    return True


def operation(needs: Callable[[World], bool] = has_rows, weight: int = 1) -> Callable[[Act], Act]:
    """Registers a function under its name. `weight`: how many times as often as another it is drawn."""

    def register(act: Act) -> Act:
        OPERATIONS[act.__name__] = Operation(act, needs, weight)
        return act

    return register
