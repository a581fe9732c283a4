"""Rows that other tools change: plain lancedb and pylance on our two tables."""

import random
from collections.abc import Callable
from typing import Any

import lance
import numpy as np

from state_machine.foretold import Foretold, as_table, changed, foretell, happened
from state_machine.operations import has_rows, operation
from state_machine.read_back import Row, position_of
from state_machine.source_states import DIM, LABELS
from state_machine.world import THEIR_URI, World, at_positions, is_their, pick_rows

Plan = Callable[[World, random.Random], Foretold]


def _rows(world: World) -> list[Row]:
    assert world.vectors is not None
    return list(world.vectors.rows)


def delete_rows(world: World, random: random.Random) -> Foretold:
    # All but one: `their_delete_all` takes the last.
    places = {position_of(row) for row in pick_rows(random, _rows(world)[1:])}
    gone = [row for row in _rows(world) if position_of(row) in places]
    where = at_positions(gone) or "false"
    rows = [row for row in _rows(world) if position_of(row) not in places]
    plain = random.random() < 0.5
    act = (lambda: world.lancedb().delete(where)) if plain else (lambda: world.dataset().delete(where))
    return Foretold(act, foretell(world.vectors, rows), deleted=gone)


def update_label(world: World, random: random.Random) -> Foretold:
    label = random.choice(LABELS) or "kitty"
    places = {position_of(row) for row in pick_rows(random, _rows(world))}
    rows = [changed(row, label=label) if position_of(row) in places else row for row in _rows(world)]
    where = at_positions([row for row in _rows(world) if position_of(row) in places])
    quoted = "'" + label.replace("'", "''") + "'"
    if random.random() < 0.5:
        return Foretold(
            lambda: world.lancedb().update(where=where, values={"label": label}), foretell(world.vectors, rows)
        )
    return Foretold(lambda: world.dataset().update({"label": quoted}, where=where), foretell(world.vectors, rows))


def update_grade(world: World, random: random.Random) -> Foretold:
    """By its own value, so that an index on it may be asked."""
    bound = random.choice(np.arange(-2, 3, 0.25))
    number = float(random.choice([7.25, -7.5, 0.0]))

    def hit(row: Row) -> bool:
        return row["grade"] is not None and row["grade"] < bound

    rows = [changed(row, grade=number) if hit(row) else row for row in _rows(world)]
    where = f"grade < {bound}"
    return Foretold(
        lambda: world.lancedb().update(where=where, values={"grade": number}), foretell(world.vectors, rows)
    )


def update_id(world: World, random: random.Random) -> Foretold:
    assert world.vectors is not None
    counts = world.vectors.positions()
    [row] = pick_rows(random, [row for row in _rows(world) if counts[position_of(row)] == 1], most=1) or [None]
    if row is None:
        return Foretold(lambda: None)
    new = f"renamed-{next(world.numbers)}"
    rows = [changed(each, id=new) if position_of(each) == position_of(row) else each for each in _rows(world)]
    where = at_positions([row])
    return Foretold(lambda: world.lancedb().update(where=where, values={"id": new}), foretell(world.vectors, rows))


def made_up(world: World, random: random.Random, position: tuple[int, int], vector: np.ndarray | None = None) -> Row:
    """A row of another tool."""
    number = next(world.numbers)
    assert world.vectors is not None
    if vector is None:
        vector = np.array([random.gauss(0, 1) for _ in range(DIM[world.kind])])
        vector /= np.linalg.norm(vector)
    row: dict[str, Any] = dict.fromkeys(world.vectors.schema.names)
    foreign = {name: 0 for name in world.foreign_columns() if not world.vectors.schema.field(name).nullable}
    row |= foreign | {
        "id": f"their-{number}",
        "uri": f"{THEIR_URI}{number}",
        "shard": position[0],
        "row": position[1],
    }
    return row | {"label": random.choice(LABELS), "grade": 1.5, "vector": vector.astype(np.float16).tobytes()}


def add_rows(world: World, random: random.Random, positions: list[tuple[int, int]], vector: Any = None) -> Foretold:
    assert world.vectors is not None
    fresh = [made_up(world, random, position, vector) for position in positions]
    table = as_table(fresh, world.vectors.schema)
    after = foretell(world.vectors, [*_rows(world), *fresh])
    # LanceDB's own `add` refuses NaN.
    if vector is None and random.random() < 0.5:
        return Foretold(lambda: world.lancedb().add(table), after)
    return Foretold(lambda: lance.write_dataset(table, world.vectors_uri, mode="append"), after)


def far(world: World) -> tuple[int, int]:
    """A position of no manifest, and of none that could come."""
    return 1_900_000_000, next(world.numbers)


@operation(has_rows, weight=2)
def their_delete(world: World, random: random.Random) -> None:
    happened(world, delete_rows(world, random))


@operation(has_rows)
def their_delete_all(world: World, random: random.Random) -> None:
    rows = _rows(world)
    happened(world, Foretold(lambda: world.lancedb().delete("true"), foretell(world.vectors, []), deleted=rows))


@operation(has_rows, weight=2)
def their_update_of_a_label(world: World, random: random.Random) -> None:
    happened(world, update_label(world, random))


@operation(has_rows, weight=2)
def their_update_by_value(world: World, random: random.Random) -> None:
    happened(world, update_grade(world, random))


@operation(has_rows)
def their_update_of_an_id(world: World, random: random.Random) -> None:
    happened(world, update_id(world, random))


@operation(has_rows)
def their_add(world: World, random: random.Random) -> None:
    happened(world, add_rows(world, random, [far(world) for _ in range(random.randint(1, 3))]))


@operation(has_rows)
def their_add_of_bad_vectors(world: World, random: random.Random) -> None:
    dim = DIM[world.kind]
    vector = random.choice([np.zeros(dim), np.full(dim, np.nan), np.full(dim, np.inf), np.r_[np.nan, np.ones(dim - 1)]])
    happened(world, add_rows(world, random, [far(world)], vector))


@operation(has_rows)
def their_add_at_the_next_positions(world: World, random: random.Random) -> None:
    shard = max((entry.first_shard + entry.num_shards for entry in world.entries()), default=0)
    happened(world, add_rows(world, random, [(shard, random.randrange(4))]))


@operation(has_rows)
def their_add_at_a_position_again(world: World, random: random.Random) -> None:
    [row] = pick_rows(random, _rows(world), most=1)
    happened(world, add_rows(world, random, [position_of(row)]))


@operation(lambda world: world.vectors is not None and any(map(is_their, world.vectors.rows)))
def their_rows_are_taken_out(world: World, random: random.Random) -> None:
    rows = [row for row in _rows(world) if not is_their(row)]
    act = lambda: world.lancedb().delete(f"uri LIKE '{THEIR_URI}%'")  # noqa: E731
    happened(world, Foretold(act, foretell(world.vectors, rows)))


@operation(has_rows)
def their_merge_insert(world: World, random: random.Random) -> None:
    """Some rows that are there get another label, one is new; by id, as LanceDB documents it."""
    assert world.vectors is not None
    ids = [row["id"] for row in _rows(world)]
    # LanceDB refuses NaN here as in `add`.
    alone = [row for row in world.finite() if ids.count(row["id"]) == 1]
    merged = {row["id"]: changed(row, label="merged") for row in pick_rows(random, alone)}
    fresh = made_up(world, random, far(world))
    rows = [merged.get(row["id"], row) for row in _rows(world)] + [fresh]
    table = as_table([*merged.values(), fresh], world.vectors.schema)

    def act() -> None:
        merge = world.lancedb().merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(table)

    happened(world, Foretold(act, foretell(world.vectors, rows)))


@operation(lambda world: world.failures is not None and bool(world.failures.rows))
def their_delete_of_failures(world: World, random: random.Random) -> None:
    assert world.failures is not None
    gone = pick_rows(random, world.failures.rows)
    places = {position_of(row) for row in gone}
    rows = [row for row in world.failures.rows if position_of(row) not in places]
    where = at_positions(gone)
    act = lambda: world.lancedb(failures=True).delete(where)  # noqa: E731
    happened(world, Foretold(act, failures=foretell(world.failures, rows), deleted=gone))
