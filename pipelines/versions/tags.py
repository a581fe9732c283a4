"""Names of states: one tag of Lance's on the vector table and one on its failures table, with the same name.

A tag is a small file beside the table; making one is no commit. The failures table is tagged first, so that a tag on
the vector table has its pair. A tag pins its version: no cleanup, of Pixlake's or of another tool that asks Lance,
removes it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import lance

from operators.base.errors import UserError
from pipelines.table.table import Table

_NAME = re.compile(r"(?!\d+$)[A-Za-z0-9_-](?:\.?[A-Za-z0-9_-])*")
"""Lance takes letters outside ASCII too, and then cannot list the table's tags any more (13.0.0). Digits alone are a
version's number."""
_OF_A_DAY = re.compile(r"\d{4}-\d\d-\d\d(\.\d+)?")
_RACES = 20
_LISTED = 10


class TagError(UserError):
    """A tag that cannot be made or found; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class TagOfState:
    """A name, and the version that it means of each table; None where a table has no such tag."""

    name: str
    vectors: int | None
    failures: int | None
    made_at: datetime

    @property
    def of_a_day(self) -> bool:
        """Whether the name is a day's, as Pixlake gives it where the user names none."""
        return _OF_A_DAY.fullmatch(self.name) is not None


@dataclass(frozen=True, kw_only=True)
class StateVersions:
    """The versions of both tables at one moment."""

    vectors: int
    failures: int


def list_tags(table: Table) -> list[TagOfState]:
    """All tags of both tables by name, the oldest first. Raises `UserError` where there is no table."""
    vectors, failures = _tags(table.latest()), _tags(table.latest_failures())
    found = [
        TagOfState(
            name=name,
            vectors=vectors[name]["version"] if name in vectors else None,
            failures=failures[name]["version"] if name in failures else None,
            made_at=(vectors.get(name) or failures[name])["created_at"] or datetime.fromtimestamp(0, UTC),
        )
        for name in vectors.keys() | failures.keys()
    ]
    return sorted(found, key=lambda tag: (tag.made_at, tag.name))


def _tags(dataset: "lance.LanceDataset") -> Mapping[str, Any]:
    """Those on the table itself: of a branch that another tool has made a tag says nothing about it."""
    return {name: tag for name, tag in _all_tags(dataset).items() if tag["branch"] in (None, "main")}


def tagged_versions(dataset: "lance.LanceDataset") -> set[int]:
    """The versions of one table that any tag stands on."""
    return {tag["version"] for tag in _all_tags(dataset).values()}


def _all_tags(dataset: "lance.LanceDataset") -> Mapping[str, Any]:
    try:
        tags: Mapping[str, Any] = dataset.tags.list()
    except ValueError as error:
        raise TagError(
            f"{dataset.uri}: its tags cannot be listed: {str(error).split(', /')[0]}. Lance cannot list a tag whose "
            "name has letters outside ASCII; delete it with Lance: dataset.tags.delete(NAME)"
        ) from None
    return tags


def versions_now(table: Table) -> StateVersions:
    """The latest versions of both tables at one moment: a commit to either while they are read is seen, and they are
    read again."""
    failures = table.latest_failures().version
    while True:
        vectors = table.latest().version
        before, failures = failures, table.latest_failures().version
        if failures == before:
            return StateVersions(vectors=vectors, failures=failures)


def tag_state(table: Table, name: str | None = None, *, move: bool = False) -> TagOfState:
    """Give the latest state a name: that of today (UTC), `2026-11-28`, unless one is given.

    A second state of one day is `2026-11-28.2`. Nothing is done where the state has the name already. Raises
    `TagError` for a name that Lance does not take, and for one that another state has unless it is to `move`.
    """
    if name is not None:
        check_name(name)
    for _ in range(_RACES):
        state = versions_now(table)
        there = {tag.name: tag for tag in list_tags(table)}
        chosen = name or next(each for each in _names_of_today() if _is_free(there.get(each), state))
        tag = there.get(chosen)
        if not _is_free(tag, state) and not move:
            assert tag is not None
            raise TagError(
                f"table {table}: the tag {chosen} is there and means another state: {_meaning(tag)}, and the latest is "
                f"{state.vectors}. Give another name, or move it: `pixlake tag {table} {chosen} --move`"
            )
        if _place(table, chosen, state, tag, move):
            return next(each for each in list_tags(table) if each.name == chosen)
    raise TagError(f"table {table}: other processes make tags all the time; try again")


def check_name(name: str) -> None:
    """Raises `TagError` for a name that a tag cannot have."""
    if not _NAME.fullmatch(name) or name.endswith(".lock"):
        raise TagError(
            f"tag {name!r}: a tag's name is of letters, digits, _, - and single dots between them, does not end in "
            ".lock, and is not a number, which means a version"
        )


def _names_of_today() -> Iterator[str]:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    yield today
    yield from (f"{today}.{number}" for number in count(2))


def _is_free(tag: TagOfState | None, state: StateVersions) -> bool:
    """Whether the state can have the name: nothing else has, or a kill has left the pair half made."""
    return tag is None or (tag.failures == state.failures and tag.vectors in (None, state.vectors))


def _meaning(tag: TagOfState) -> str:
    return f"version {tag.vectors}" if tag.vectors is not None else f"no version but {tag.failures} of the failures"


def _place(table: Table, name: str, state: StateVersions, there: TagOfState | None, move: bool) -> bool:
    """Set the tag on both tables, failures first; false where another process made one of that name meanwhile."""
    pairs = [
        (table.latest_failures(), state.failures, there.failures if there else None),
        (table.latest(), state.vectors, there.vectors if there else None),
    ]
    for dataset, version, has in pairs:
        if has == version:
            continue
        try:
            if has is not None and move:
                dataset.tags.update(name, version)
            else:
                dataset.tags.create(name, version)
        except ValueError as error:
            if "already exists" not in str(error):
                raise OSError(f"{dataset.uri}: tag {name}: {error}") from error
            return False
    return True


def delete_tag(table: Table, name: str) -> TagOfState:
    """Take a name away from both tables; the versions stay until they are pruned. Raises `TagError` where there is
    none."""
    tag = next((each for each in list_tags(table) if each.name == name), None)
    if tag is None:
        raise no_tag(table, name)
    # The failures table last, as it is the first to be tagged: half a pair is always its.
    for dataset, version in ((table.latest(), tag.vectors), (table.latest_failures(), tag.failures)):
        if version is not None:
            _delete(dataset, name)
    return tag


def _delete(dataset: "lance.LanceDataset", name: str) -> None:
    try:
        dataset.tags.delete(name)
    except ValueError as error:
        if "does not exist" not in str(error):
            raise OSError(f"{dataset.uri}: tag {name}: {error}") from error


def no_tag(table: Table, name: str) -> TagError:
    """What a user is told who asks for a tag that is not there."""
    there = [tag.name for tag in list_tags(table) if tag.vectors is not None]
    listed = f"the latest are {', '.join(there[-_LISTED:])}" if there else "there is none"
    return TagError(f"table {table}: there is no tag {name!r}; {listed}. `pixlake tag {table} NAME` makes one")
