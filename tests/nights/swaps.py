"""The table of a world moved to another model and back, with a night while both columns are there."""

from collections.abc import Sequence

from nights.seven import World, there

OTHER = ("--set", "model.pooling=avg")
"""Another space of the same model, which must fill and keep a column of its own."""


def there_and_back(world: World, dates: Sequence[str], other: Sequence[str] = OTHER) -> None:
    """Backfill, flip, a night, rollback, a night, the flip again, the end; audited after each."""
    swap(world, *other, "--insist")
    _both(world, "vector", "vector_before", other)
    _changes(world, dates[0])
    _both(world, "vector", "vector_before", other)
    swap(world, "--rollback")
    _both(world, "vector_next", "vector", other)
    _changes(world, dates[1])
    _both(world, "vector_next", "vector", other)
    swap(world, *other, "--insist")
    swap(world, "--finish", "--insist")
    world.audit(*other)


def moved(world: World, other: Sequence[str] = OTHER) -> None:
    """Backfill, flip and the end; audited."""
    swap(world, *other, "--insist")
    _both(world, "vector", "vector_before", other)
    swap(world, "--finish", "--insist")
    world.audit(*other)


def swap(world: World, *arguments: str) -> None:
    """Again until it is done: a killed worker may have been one too many."""
    for _ in range(3):
        ended = world.run("swap", world.table, "--config", world.settings, *arguments)
        if ended.code == 0:
            return
    raise AssertionError(ended.out + ended.err)


def _both(world: World, new: str, old: str, other: Sequence[str]) -> None:
    world.audit(*other, column=new)
    world.audit(column=old)


def _changes(world: World, date: str) -> None:
    """A night with new, changed, moved and deleted images."""
    bucket = world.bucket
    keys = there(bucket)
    bucket.add(2)
    bucket.change(keys[2])
    bucket.move(keys[4])
    bucket.delete(keys[6])
    ended = world.night(date)
    assert ended.code == 0, ended.out + ended.err
    assert ended.json["live_models"].keys() == {"vector"}
