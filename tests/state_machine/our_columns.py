"""`pixlake reduce`, `fit-pca` and `index`: what they add is right, and nothing else changes."""

import random
from typing import Any

from jobs.fit_pca import FitPcaConfig
from jobs.fit_pca import run as fit_pca
from jobs.index import IndexConfig
from jobs.index import run as index
from jobs.reduce import ReduceConfig
from jobs.reduce import run as reduce
from pipelines.table.errors import RecallError
from state_machine.cut_off import HOWS, Cut, commits_cut
from state_machine.expected_codes import derived_columns, unfilled
from state_machine.foretold import Foretold
from state_machine.meanwhile import foretold_meanwhile
from state_machine.operations import has_rows, operation
from state_machine.read_back import difference
from state_machine.their_columns import is_flag
from state_machine.world import World, check_others, must, ours

LOCAL = {"executor": "local"}
COLUMNS: dict[str, dict[str, Any]] = {
    "vector_cut": {"truncate_dim": 2, "allow_untrained_truncation": True},
    "vector_binary": {"quantize": "binary"},
    "vector_int8": {"quantize": "int8"},
    "vector_pca": {},
}


def rows_stay(world: World, cut: Cut, call: Any, replaced: str = "nothing") -> tuple[Any, Exception | None]:
    """Rows stay as they are, whatever comes of it; derived columns are looked at by `World.look`."""
    answer = refusal = None
    with commits_cut(cut):
        answer, refusal = ours(world, call)
    vectors, failures = world.look()
    check_others(world.vectors, vectors, replaced=replaced)
    assert world.vectors is not None
    assert vectors is not None
    plain = world.vectors.columns - set(derived_columns(world.vectors.schema))
    lost, came = difference(world.vectors.rows, vectors.rows, plain)
    must(not lost and not came, f"rows changed: {lost} to {came}")
    must(failures is not None and failures.rows == world.failures.rows, "failures changed")  # type: ignore[union-attr]
    world.keep(vectors, failures)
    return answer, refusal


def _reduce(world: World, random: random.Random, cut: Cut) -> None:
    column = random.choice(list(COLUMNS))
    given = dict(COLUMNS[column])
    if column == "vector_pca":
        config = FitPcaConfig(table=world.table, dim=2, cluster=LOCAL)
        fitted, refusal = ours(world, lambda: fit_pca(config))
        if refusal is not None:
            must(len(world.finite()) < 3, f"fit-pca: {refusal}")
            return
        there = derived_columns(world.vectors.schema).get(column)  # type: ignore[union-attr]
        given["pca"] = there["pca"]["artifact"]["uri"] if there else fitted.uri
    config = ReduceConfig(table=world.table, column=column, cluster=LOCAL, **given)
    report, refusal = rows_stay(world, cut, lambda: reduce(config))
    world.did[f"reduce {'refused' if refusal else 'done' if report else 'cut off'}"] += 1
    if refusal is not None:
        must(cut.disturbed or not world.finite(), f"reduce: {refusal}")
    if report is not None and not cut.disturbed:
        left = unfilled(world.vectors, column, world.folder)
        must(not left, f"{column} of {left} is null after reduce")


@operation(has_rows, weight=2)
def reduce_column(world: World, random: random.Random) -> None:
    _reduce(world, random, Cut())


@operation(has_rows)
def reduce_cut_off(world: World, random: random.Random) -> None:
    how = random.choice([how for how in HOWS if how != "ctrl-c"])
    _reduce(world, random, Cut(how, random.randint(1, 5)))


@operation(has_rows)
def reduce_while_others_write(world: World, random: random.Random) -> None:
    name, meanwhile = foretold_meanwhile(world, random)
    cut = Cut("meanwhile", random.randint(1, 4), lambda: _happens(world, meanwhile))
    _reduce(world, random, cut)
    world.did[name] += cut.came


def _happens(world: World, meanwhile: Foretold) -> None:
    """Of a column that the run has added by now, the rows of others know nothing."""
    meanwhile.happens(world)


def _index(world: World, random: random.Random, cut: Cut, **more: Any) -> None:
    assert world.vectors is not None
    derived = [name for name in derived_columns(world.vectors.schema) if name == "vector_binary"]
    column = random.choice(["vector", "vector", *derived])
    scalar = ["label", "grade", "flag", "shard", "row", *world.foreign_columns()]
    scalar = [f"{name}=ZONEMAP" if is_flag(world, name) and random.random() < 0.7 else name for name in scalar]
    config = IndexConfig(
        table=world.table,
        column=column,
        cluster=LOCAL,
        scalar=tuple(random.sample(scalar, random.randint(0, 3))),
        queries=5,
        target_recall=0.5,
        **more,
    )
    answer = refusal = None
    try:
        answer, refusal = rows_stay(world, cut, lambda: index(config), f"their_{column}")
    except RecallError as error:
        refusal = error
    world.did[f"index {'refused' if refusal else answer.status if answer else 'cut off'}"] += 1
    if refusal is None or cut.disturbed or isinstance(refusal, RecallError):
        return
    nothing = "update" in more and "no index of Pixlake" in str(refusal)
    # Of a filter index that answers otherwise than a scan.
    nothing = nothing or " is published: " in str(refusal)
    nothing = nothing or ("cannot be cut into" in str(refusal) and len(world.finite(column)) < 2)
    must(nothing or not world.finite(column), f"index: {refusal}")


@operation(has_rows, weight=2)
def index_columns(world: World, random: random.Random) -> None:
    _index(world, random, Cut(), type="IVF_FLAT", num_partitions=random.choice([1, 1, 2]))


@operation(has_rows)
def index_scalars_alone(world: World, random: random.Random) -> None:
    _index(world, random, Cut())


@operation(has_rows, weight=2)
def index_update(world: World, random: random.Random) -> None:
    _index(world, random, Cut(), update=True)


@operation(has_rows)
def index_cut_off(world: World, random: random.Random) -> None:
    how = random.choice([how for how in HOWS if how != "ctrl-c"])
    _index(world, random, Cut(how, random.randint(1, 6)), type="IVF_FLAT", num_partitions=1)
