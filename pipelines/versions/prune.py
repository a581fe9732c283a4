"""Old versions of both tables removed, with the files that only they have; tagged ones stay."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import lance

from operators.base.errors import UserError
from pipelines.table.table import Table
from pipelines.versions.tags import TagOfState, delete_tag, list_tags, tagged_versions

SAFE_AGE = timedelta(days=1)
"""Versions that were the latest within this time are never removed, whatever is asked for.

Lance holds a commit against the transactions of the versions since the one that it was built on, and passes over those
that are gone (13.0.0): the commit of a run that was stopped meanwhile (a stale fencing term) would land. Jobs that read
one version for hours are safe by it too. Files that no version lists, which a run has staged, Lance keeps for 7 days.
"""

_AGE = re.compile(r"(\d+)([dw])")
_UNITS = {"d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Which versions stay: the latest `number`, or those that were the latest within `age`."""

    number: int | None = None
    age: timedelta | None = None

    @classmethod
    def parse(cls, text: str | int) -> "Keep":
        """From `10`, `14d` or `2w`. Raises `UserError` for anything else, and for fewer than one version or a day."""
        found = _AGE.fullmatch(str(text))
        if str(text).isdecimal() and int(text) > 0:
            return cls(number=int(text))
        if found and int(found[1]) > 0:
            return cls(age=int(found[1]) * _UNITS[found[2]])
        raise UserError(f"--keep-versions {text}: a number of versions, 1 or more, or an age of days or weeks: 14d, 2w")


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of one table."""

    number: int
    made_at: datetime
    """In this machine's time, without a zone."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was removed of one table."""

    versions: int = 0
    bytes: int = 0


def old_versions(versions: Sequence[Version], tagged: Collection[int], keep: Keep, now: datetime) -> list[int]:
    """The numbers of the versions to remove. A version's age counts from when the next one took its place; the latest,
    tagged ones, and those younger than `SAFE_AGE` stay."""
    ordered = sorted(versions, key=lambda each: each.number)
    kept = {each.number for each in ordered[-(keep.number or 1) :]}
    age = max(keep.age or SAFE_AGE, SAFE_AGE)
    return [
        each.number
        for each, following in pairwise(ordered)
        if now - following.made_at > age and each.number not in kept and each.number not in tagged
    ]


def prune(table: Table, keep: Keep, *, drop_tags: bool = False) -> tuple[Pruned, Pruned]:
    """Remove old versions of the vector table and of the failures table; gives what was removed of each.

    With `drop_tags` tags that are named by a day and stand on a version that would go otherwise go with it; other names
    always stay. Nothing is touched where nothing is old. Raises `UserError` where there is no table, `OSError`.
    """
    if drop_tags:
        for tag in old_tags(table, keep):
            delete_tag(table, tag.name)
    return _prune(table.latest(), keep), _prune(table.latest_failures(), keep)


def old_tags(table: Table, keep: Keep) -> list[TagOfState]:
    """The tags named by a day whose version of the vector table is old."""
    old = set(old_versions(_versions(table.latest()), (), keep, datetime.now()))
    return [tag for tag in list_tags(table) if tag.of_a_day and tag.vectors in old]


SWEPT_AGE = timedelta(days=7)
"""Files that no version lists are removed by Lance (13.0.0) once they are older: a run may have staged younger ones."""


def sweep(table: Table) -> None:
    """Remove the files of both tables that no version lists and that are older than `SWEPT_AGE`; all versions stay.
    Raises `UserError` where there is no table, `OSError`."""
    for dataset in (table.latest(), table.latest_failures()):
        dataset.cleanup_old_versions(older_than=_NO_VERSION_IS_SO_OLD, error_if_tagged_old_versions=False)


_NO_VERSION_IS_SO_OLD = timedelta(days=36_500)


def _prune(dataset: "lance.LanceDataset", keep: Keep) -> Pruned:
    old = old_versions(_versions(dataset), tagged_versions(dataset), keep, datetime.now())
    if not old:
        return Pruned()
    stats = dataset.cleanup_old_versions(versions=old, error_if_tagged_old_versions=False)
    return Pruned(versions=stats.old_versions, bytes=stats.bytes_removed)


def _versions(dataset: "lance.LanceDataset") -> list[Version]:
    return [Version(number=each["version"], made_at=each["timestamp"]) for each in dataset.versions()]
