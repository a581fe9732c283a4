"""Filters of SQL, each with what it means of a row in plain Python: a null is neither true nor false."""

import random
from collections.abc import Callable

from state_machine.read_back import Row
from state_machine.world import World

Holds = Callable[[Row], bool]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _known(column: str, holds: Callable[[object], bool]) -> Holds:
    return lambda row: row[column] is not None and bool(holds(row[column]))


def _by_label(world: World, random: random.Random) -> tuple[str, Holds]:
    assert world.vectors is not None
    labels = sorted({row["label"] for row in world.vectors.rows if row["label"] is not None}) or ["cat"]
    label = random.choice([*labels, "cat"])
    some = random.sample(labels, min(2, len(labels)))
    listed = ", ".join(map(_quoted, some))
    return random.choice(
        [
            (f"label = {_quoted(label)}", _known("label", lambda value: value == label)),
            (f"`label` <> {_quoted(label)}", _known("label", lambda value: value != label)),
            (f"NOT (label = {_quoted(label)})", _known("label", lambda value: value != label)),
            (f"label IN ({listed})", _known("label", lambda value: value in some)),
            ("label IS NULL", lambda row: row["label"] is None),
            ("label IS NOT NULL", lambda row: row["label"] is not None),
        ]
    )


def _by_grade(random: random.Random) -> tuple[str, Holds]:
    bound = random.choice([-7.5, -1.0, -0.25, 0.0, 0.5, 1.5, 7.25])
    return random.choice(
        [
            (f"grade < {bound}", _known("grade", lambda value: value < bound)),
            (f"grade >= {bound}", _known("grade", lambda value: value >= bound)),
            (f"grade = {bound}", _known("grade", lambda value: value == bound)),
            (f"NOT (grade < {bound})", _known("grade", lambda value: not value < bound)),
            (f"grade BETWEEN -1.0 AND {bound}", _known("grade", lambda value: -1.0 <= value <= bound)),
            ("grade IS NULL", lambda row: row["grade"] is None),
        ]
    )


def _by_flag(random: random.Random) -> tuple[str, Holds]:
    return random.choice(
        [
            ("flag IS TRUE", lambda row: row["flag"] is True),
            ("flag IS NOT TRUE", lambda row: row["flag"] is not True),
            ("NOT (flag IS TRUE)", lambda row: row["flag"] is not True),
            ("flag", lambda row: row["flag"] is True),
            ("flag IS NULL", lambda row: row["flag"] is None),
        ]
    )


def _by_id(world: World, random: random.Random) -> tuple[str, Holds]:
    assert world.vectors is not None
    row = random.choice(world.vectors.rows)
    shard, number = row["shard"], row["row"]
    return random.choice(
        [
            (f"id = {_quoted(row['id'])}", lambda other: other["id"] == row["id"]),
            (f"`row` < {number}", lambda other: other["row"] < number),
            (f"shard = {shard} AND `row` >= {number}", lambda o: o["shard"] == shard and o["row"] >= number),
        ]
    )


def _by_foreign(world: World, random: random.Random) -> tuple[str, Holds]:
    name = random.choice(world.foreign_columns())
    return random.choice(
        [
            (f"{name} IS NULL", lambda row: row[name] is None),
            (f"`{name}` IS NOT NULL", lambda row: row[name] is not None),
        ]
    )


def drawn_filter(world: World, random: random.Random) -> tuple[str, Holds]:
    drawn = [_by_label(world, random), _by_grade(random), _by_flag(random), _by_id(world, random)]
    if world.foreign_columns():
        drawn.append(_by_foreign(world, random))
    return random.choice(drawn)
