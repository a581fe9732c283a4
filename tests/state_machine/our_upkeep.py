"""`pixlake upkeep` and `diff`: no row changes by the one, and the other tells what differs between two steps."""

import random
from collections import defaultdict

import lance

from jobs.diff import DiffConfig
from jobs.diff import run as diff
from jobs.upkeep import UpkeepConfig
from jobs.upkeep import run as upkeep
from state_machine.cut_off import HOWS, Cut
from state_machine.meanwhile import foretold_meanwhile
from state_machine.operations import has_rows, operation
from state_machine.our_columns import rows_stay
from state_machine.read_back import TableState
from state_machine.world import World, must, ours

LOCAL = {"executor": "local"}


def _upkeep(world: World, random: random.Random, cut: Cut) -> None:
    rows_per_fragment = random.choice([4, 50, 1 << 20])
    config = UpkeepConfig(
        table=world.table, cluster=LOCAL, keep_versions="1", set_tag=False, rows_per_fragment=rows_per_fragment
    )
    report, refusal = rows_stay(world, cut, lambda: upkeep(config))
    world.did[f"upkeep {'refused' if refusal else 'done' if report else 'cut off'}"] += 1
    must(refusal is None or cut.disturbed, f"upkeep: {refusal}")
    if report is not None and not report.problems and not cut.disturbed:
        version = world.dataset().version
        again, refusal = rows_stay(world, Cut(), lambda: upkeep(config))
        must(refusal is None and world.dataset().version == version, f"upkeep again: {again or refusal}")


@operation(has_rows, weight=2)
def upkeep_of_the_table(world: World, random: random.Random) -> None:
    _upkeep(world, random, Cut())


@operation(has_rows)
def upkeep_cut_off(world: World, random: random.Random) -> None:
    how = random.choice([how for how in HOWS if how != "ctrl-c"])
    _upkeep(world, random, Cut(how, random.randint(1, 6)))


@operation(has_rows)
def upkeep_while_others_write(world: World, random: random.Random) -> None:
    name, meanwhile = foretold_meanwhile(world, random)
    cut = Cut("meanwhile", random.randint(1, 4), lambda: meanwhile.happens(world))
    _upkeep(world, random, cut)
    world.did[name] += cut.came


@operation(has_rows, weight=2)
def difference_of_two_steps(world: World, random: random.Random) -> None:
    there = {each["version"] for each in lance.dataset(world.vectors_uri).versions()} & set(world.earlier_vectors)
    first, last = sorted(random.choices(sorted(there), k=2)) if there else (0, 0)
    if not there or not _failures_of_then(world, first, last):
        return
    config = DiffConfig(table=world.table, before=str(first), after=str(last), limit=10**6)
    found, refusal = ours(world, lambda: diff(config))
    must(refusal is None, f"diff {first} {last}: {refusal}")
    before, after = (_said(world.earlier_vectors[version]) for version in (first, last))
    told = {(row.get("old_id"), row.get("id")) for row in found.rows if row["change"] in ("added", "deleted", "moved")}
    gone, came = ({pair[side] for pair in told if pair[0] != pair[1]} - {None} for side in (0, 1))
    must(before.keys() - after.keys() <= gone, f"diff {first} {last}: {before.keys() - after.keys()} went, not {gone}")
    must(after.keys() - before.keys() <= came, f"diff {first} {last}: {after.keys() - before.keys()} came, not {came}")
    same = {row_id for row_id in before.keys() & after.keys() if before[row_id] == after[row_id]}
    named = {row.get(side) for row in found.rows if "failure" not in row["change"] for side in ("id", "old_id")}
    must(not same & (named - {None}), f"diff {first} {last}: {same & named} are the same")


def _failures_of_then(world: World, *versions: int) -> bool:
    """Whether the failures table still has its versions of that time."""
    moments = {each["version"]: each["timestamp"] for each in lance.dataset(world.vectors_uri).versions()}
    earliest = min(each["timestamp"] for each in lance.dataset(world.failures_uri).versions())
    return all(moments[version] >= earliest for version in versions)


def _said(state: TableState) -> dict[str, set[tuple[object, ...]]]:
    """Id -> what is said of the image."""
    found = defaultdict(set)
    for row in state.rows:
        if row["id"] is not None and row.get("deleted_at") is None:
            found[row["id"]].add(tuple(row.get(name) for name in ("uri", "etag", "sha256")))
    return dict(found)
