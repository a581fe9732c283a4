"""`pixlake delete`: the rows are gone from both tables, and no later run brings their ids in."""

import random

from jobs.delete import DeleteConfig
from jobs.delete import run as delete
from state_machine.cut_off import HOWS, Cut, commits_cut
from state_machine.filters import drawn_filter
from state_machine.operations import has_rows, operation
from state_machine.read_back import difference
from state_machine.world import World, check_others, must, ours


def _delete(world: World, random: random.Random, cut: Cut) -> None:
    assert world.vectors is not None
    assert world.failures is not None
    rows = [*world.vectors.rows, *world.failures.rows]
    named = random.sample(sorted({row["id"] for row in rows}), 1)
    where, ids = None, set(named)
    if random.random() < 0.5:
        where, holds = drawn_filter(world, random)
        ids = {row["id"] for row in world.vectors.rows if holds(row)}
        named = []
    config = DeleteConfig(table=world.table, where=where, id=tuple(named), dry_run=random.random() < 0.2)
    about = f"delete --where {where} --id {named}{' --dry-run' * config.dry_run}"
    # What is recorded is kept to, even if the command is cut off before it deletes.
    told = refusal = None
    with commits_cut(cut):
        told, refusal = ours(world, lambda: delete(config))
    world.did[f"delete {'refused' if refusal else 'done' if told else 'cut off'}"] += 1
    must(refusal is None or cut.disturbed or world.reasons(), f"{about}: {refusal}")
    gone = set() if config.dry_run else ids | world.taken_down | world.maybe_taken_down
    vectors, failures = world.look()
    for before, after in ((world.vectors, vectors), (world.failures, failures)):
        check_others(before, after)
        assert after is not None
        lost, came = difference(before.rows, after.rows, before.columns)
        stay = [row for row in lost if row["id"] not in gone]
        must(not stay and not came, f"{about}: {stay} went, {came} came")
        left = [row["id"] for row in after.rows if row["id"] in ids]
        must(told is None or config.dry_run or not left, f"{about}: {left} are there")
    if told is not None:
        counts = [sum(row["id"] in ids for row in state.rows) for state in (world.vectors, world.failures)]
        must(
            cut.disturbed or world.maybe_taken_down or [told.vectors, told.failures] == counts,
            f"{about}: {told}, of {counts} rows",
        )
    if not config.dry_run and (told is not None or cut.disturbed):
        world.deleted |= {(row["shard"], row["row"]) for row in rows if row["id"] in gone}
        places = {(row["shard"], row["row"]) for row in rows if row["id"] in ids}
        world.maybe_taken_down |= ids
        world.maybe_kept_out |= places
        if told is not None:
            world.taken_down |= ids
            world.kept_out |= places
    world.keep(vectors, failures)


@operation(has_rows)
def delete_rows(world: World, random: random.Random) -> None:
    _delete(world, random, Cut())


@operation(has_rows)
def delete_cut_off(world: World, random: random.Random) -> None:
    how = random.choice([how for how in HOWS if how != "ctrl-c"])
    _delete(world, random, Cut(how, random.randint(1, 6)))


@operation(lambda world: world.vectors is not None and bool(world.taken_down))
def delete_is_taken_back(world: World, random: random.Random) -> None:
    """The record of an id is forgotten: `--deleted restore` embeds it again, and other manifests may bring it in."""
    id = random.choice(sorted(world.taken_down))
    told, refusal = ours(world, lambda: delete(DeleteConfig(table=world.table, id=(id,), forget=True)))
    must(refusal is None and told.forgotten >= 1, f"delete --forget {id}: {refusal or told}")
    world.taken_down.discard(id)
    world.maybe_taken_down.discard(id)
    # Its places are forgotten with it; which they were is not known here.
    world.maybe_kept_out |= world.kept_out
    world.kept_out.clear()
