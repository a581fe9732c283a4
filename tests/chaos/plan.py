"""What a round of chaos is to do: a pure function of its seed, its number and its rows, so that one line replays it."""

import random
from dataclasses import dataclass
from typing import Literal

Executor = Literal["local", "ray", "nodes"]
"""In the driver; on a Ray that the driver starts; on a cluster of a head and two kinds of nodes that is there
already."""
Store = Literal["disk", "s3"]
Worker = Literal["decode child", "preprocess actor", "embed actor", "write actor", "worker on the table"]
Who = Literal["driver", Worker, "raylet", "node", "head"]

RANDOM = "a random time"

IN_WORKERS: dict[str, Who] = {
    "fetch.before": "preprocess actor",
    "fetch.after": "preprocess actor",
    "decode.after": "preprocess actor",
    "decode.row": "decode child",
    "embed.before": "embed actor",
    "embed.after": "embed actor",
    "write.before": "write actor",
    "write.between": "write actor",
    "receipt.before": "write actor",
}
"""Failpoints of an embed job that lie in workers where there are any."""
IN_THE_DRIVER = (
    *("create.between", "claim.between", "register.between", "epoch.before", "receipt.arrived"),
    *("commit.failures", "commit.between", "commit.vectors", "commit.after", "table.built", "table.landed"),
)
AT_THE_END = ("epoch.after", "run.audited")
WHILE_FAILURES_ARE_RETRIED = ("move.between", "commit.after", "table.landed")
ONLY_ONCE = {"create.between", "claim.between", "register.between", "epoch.before", *AT_THE_END}
"""Places that a run comes to once, or at its beginning."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """SIGKILL for one process."""

    who: Who
    place: str
    """A failpoint, or `RANDOM`."""
    at: int
    """The how manieth time that a process comes to the place; at a random time, the request at the image server after
    which it is killed."""

    @property
    def text(self) -> str:
        """As `PIXLAKE_FAILPOINTS` has it."""
        return f"{self.place}=kill@{self.at}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    seed: int
    number: int
    rows: int
    executor: Executor
    store: Store
    model: str
    starts: tuple[tuple[Fault, ...], ...]
    """The faults of each start of the command; after these it is started once more, to end."""
    retried: tuple[Fault, ...]
    """Faults of starts with `--retry-failed`, one each, once the images that were missing are there."""

    @property
    def replay(self) -> str:
        return (
            f"PYTHONPATH=.:tests .venv/bin/python -m chaos --rows {self.rows} --seed {self.seed} --round {self.number}"
        )

    @property
    def title(self) -> str:
        return f"round {self.number}: {self.executor}, {self.store}, {self.model}"


def plan_of(seed: int, number: int, rows: int) -> Plan:
    rng = random.Random(f"{seed}/{number}")
    executor: Executor = ("local", "ray", "local", "nodes", "local", "ray")[number % 6]  # type: ignore[assignment]
    starts = {"local": _local_starts, "ray": _ray_starts, "nodes": _node_starts}[executor](rng, rows, number)
    return Plan(
        seed=seed,
        number=number,
        rows=rows,
        executor=executor,
        # Each executor comes to each.
        store=("disk", "s3")[number // 6 % 2 if executor == "nodes" else number // 2 % 2],  # type: ignore[arg-type]
        # A real model takes minutes for 5,000 images.
        model="efficientnet-lite0" if number % 24 == 8 else "null",
        starts=starts,
        retried=tuple(_driver(rng, place) for place in WHILE_FAILURES_ARE_RETRIED) if executor == "local" else (),
    )


def _local_starts(rng: random.Random, rows: int, number: int) -> tuple[tuple[Fault, ...], ...]:
    """The driver killed at each start, at places that all come up in two rounds, and a decode process before it."""
    in_process = [place for place, who in IN_WORKERS.items() if who != "decode child"]
    places = [*in_process, *IN_THE_DRIVER, RANDOM, RANDOM]
    rng.shuffle(places)
    first = [place for place in places if place == "create.between"]
    half = [place for place in places if place != "create.between"][number // 2 % 2 :: 2]
    ends = [(_driver(rng, place),) for place in AT_THE_END[: 1 + number // 2 % 2]]
    begun = [(*_decoders(rng, rows), _driver(rng, place, rows)) for place in first + half]
    return (*begun, *ends)


def _ray_starts(rng: random.Random, rows: int, number: int) -> tuple[tuple[Fault, ...], ...]:
    """Workers killed at their failpoints and at random, then the driver."""
    places = list(IN_WORKERS)
    rng.shuffle(places)
    drivers = rng.sample([place for place in IN_THE_DRIVER if place not in ONLY_ONCE], 2)
    by_chance: list[Who] = ["decode child", "embed actor", "write actor", "preprocess actor"]
    rng.shuffle(by_chance)
    # A driver on Ray has all that it waits for in flight when it dies: the workers' faults come first.
    starts = []
    for start, driver in enumerate((drivers[0], drivers[1], RANDOM)):
        workers = [Fault(who=IN_WORKERS[place], place=place, at=rng.randint(1, 2)) for place in places[start::3]]
        at_random = [Fault(who=by_chance[start], place=RANDOM, at=rng.randint(rows // 25, rows // 12))]
        late = _driver(rng, driver, rows) if driver != RANDOM else _at_random(rng, "driver", rows // 6, rows // 5)
        starts.append((*workers, *at_random, late))
    return tuple(starts)


def _node_starts(rng: random.Random, rows: int, number: int) -> tuple[tuple[Fault, ...], ...]:
    """A node and the driver lost, then a raylet and the head, then an actor and a node; where a node is lost, another
    joins."""
    early, later = (rows // 25, rows // 12), (rows // 6, rows // 5)
    return (
        (_at_random(rng, "node", *early), _at_random(rng, "driver", *later)),
        (_at_random(rng, "raylet", *early), _at_random(rng, "head", *later)),
        (_at_random(rng, "embed actor", *early), _at_random(rng, "node", *later)),
    )


def _driver(rng: random.Random, place: str, rows: int = 0) -> Fault:
    if place == RANDOM:
        return _at_random(rng, "driver", rows // 25, rows // 8)
    # The first commits of a run claim and register.
    low, high = {"table.built": (5, 9), "table.landed": (5, 9)}.get(place, (1, 3))
    return Fault(who="driver", place=place, at=1 if place in ONLY_ONCE else rng.randint(low, high))


def _decoders(rng: random.Random, rows: int) -> tuple[Fault, ...]:
    at = rng.randint(1, 40)
    return Fault(who="decode child", place="decode.row", at=at), _at_random(
        rng, "decode child", rows // 200, rows // 50
    )


def _at_random(rng: random.Random, who: Who, low: int, high: int) -> Fault:
    return Fault(who=who, place=RANDOM, at=rng.randint(low, high))
