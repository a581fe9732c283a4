"""Versions, indexes and tags in the hands of other tools: compaction, clean-up, restore, indexes of their own."""

import random
from datetime import timedelta

import lance

from state_machine.foretold import Foretold, foretell, happened
from state_machine.operations import has_rows, has_table, operation
from state_machine.read_back import Position, TableState
from state_machine.world import World


def _both(world: World, random: random.Random) -> str:
    return random.choice([world.vectors_uri, world.vectors_uri, world.failures_uri])


@operation(has_rows, weight=2)
def their_optimize(world: World, random: random.Random) -> None:
    failures = random.random() < 0.3
    happened(world, Foretold(lambda: world.lancedb(failures=failures).optimize(cleanup_older_than=timedelta(days=7))))


@operation(has_rows, weight=2)
def their_compaction(world: World, random: random.Random) -> None:
    uri = _both(world, random)
    happened(world, Foretold(lambda: lance.dataset(uri).optimize.compact_files(target_rows_per_fragment=1024)))


@operation(has_rows)
def their_optimize_of_indexes(world: World, random: random.Random) -> None:
    happened(world, Foretold(lambda: world.dataset().optimize.optimize_indices()))


@operation(has_table)
def their_clean_up(world: World, random: random.Random) -> None:
    def act() -> None:
        for uri in (world.vectors_uri, world.failures_uri):
            dataset = lance.dataset(uri)
            dataset.cleanup_old_versions(older_than=timedelta(0), error_if_tagged_old_versions=False)

    happened(world, Foretold(act))


@operation(has_rows)
def their_scalar_index(world: World, random: random.Random) -> None:
    columns = ["label", "grade", "id", "shard", "row", "flag", *world.foreign_columns()]
    column = random.choice(columns)
    kind = "BITMAP" if column in ("flag", "label") else "BTREE"
    name = f"their_{column}_{next(world.numbers)}"
    happened(world, Foretold(lambda: world.dataset().create_scalar_index(column, kind, name=name)))


@operation(has_rows)
def their_text_index(world: World, random: random.Random) -> None:
    """Of the name that LanceDB gives it: `uri_idx`."""
    assert world.vectors is not None
    if not any(name == "uri_idx" for name, _ in world.vectors.indexes):
        happened(world, Foretold(lambda: world.lancedb().create_fts_index("uri")))


@operation(has_rows)
def their_vector_index(world: World, random: random.Random) -> None:
    if len(world.finite()) < len(world.vectors.rows):  # type: ignore[union-attr]
        # Lance trains on what is there: NaN makes no centroid.
        return
    metric = random.choice(["cosine", "cosine", "l2", "dot"])
    name = f"their_vector_{next(world.numbers)}"
    options = {"num_partitions": 1, "metric": metric, "name": name, "replace": True}
    happened(world, Foretold(lambda: world.dataset().create_index("vector", "IVF_FLAT", **options)))


@operation(has_rows)
def their_tag(world: World, random: random.Random) -> None:
    happened(
        world, Foretold(lambda: world.dataset().tags.create(f"tag-{next(world.numbers)}", world.dataset().version))
    )


def _earlier(known: dict[int, TableState], uri: str, random: random.Random) -> int | None:
    """A version that a step ended with, and no clean-up has taken."""
    there = {each["version"] for each in lance.dataset(uri).versions()} & set(known)
    return random.choice(sorted(there)) if there else None


def _there(world: World) -> set[Position]:
    assert world.vectors is not None
    assert world.failures is not None
    return set(world.vectors.positions()) | set(world.failures.positions())


def _restored(world: World, foretold: Foretold) -> None:
    """Rows that went with it are as good as deleted where a run cannot tell, and embedded again where it can."""
    before = _there(world)
    happened(world, foretold)
    world.deleted |= before - _there(world)
    world.taken_back()


def _restore(world: World, version: int, failures: bool) -> None:
    table = world.lancedb(failures=failures)
    table.checkout(version)
    table.restore()


@operation(has_rows)
def their_restore_of_the_vectors(world: World, random: random.Random) -> None:
    """LanceDB's way to undo a mistake: the failures table stays as it is."""
    version = _earlier(world.earlier_vectors, world.vectors_uri, random)
    if version is not None:
        state = foretell(world.earlier_vectors[version])
        world.torn = True
        _restored(world, Foretold(lambda: _restore(world, version, failures=False), vectors=state))


@operation(has_table)
def their_restore_of_the_failures(world: World, random: random.Random) -> None:
    version = _earlier(world.earlier_failures, world.failures_uri, random)
    if version is not None:
        state = foretell(world.earlier_failures[version])
        world.torn = True
        _restored(world, Foretold(lambda: _restore(world, version, failures=True), failures=state))


@operation(has_table)
def their_restore_of_both(world: World, random: random.Random) -> None:
    """To what both were after one step."""
    versions = {each["version"] for each in lance.dataset(world.vectors_uri).versions()}
    others = {each["version"] for each in lance.dataset(world.failures_uri).versions()}
    pairs = [(v, f) for v, f, torn in world.moments if v in versions and f in others and not torn]
    if not pairs:
        return
    v, f = random.choice(pairs)

    def act() -> None:
        _restore(world, v, failures=False)
        _restore(world, f, failures=True)

    world.torn = False
    after = foretell(world.earlier_vectors[v]), foretell(world.earlier_failures[f])
    _restored(world, Foretold(act, vectors=after[0], failures=after[1]))


@operation(has_rows)
def their_metadata_is_replaced(world: World, random: random.Random) -> None:
    happened(world, Foretold(lambda: world.dataset().update_metadata({"owner": "them"}, replace=True)))
    world.taken_back()
