"""Both tables at an earlier state, by the name of a tag or by the number of a version."""

from datetime import datetime

import lance

from pipelines.table.table import Table, open_dataset
from pipelines.versions.tags import TagError, list_tags, no_tag


def vectors_at(table: Table, at: str | None) -> "lance.LanceDataset":
    """The vector table at a tag or a version; at its latest one where `at` is None. Its schema, indexes and metadata
    are those of that version.

    Raises `TagError` where there is no such tag or version, and as `Table.latest` does.
    """
    latest = table.latest()
    if at is None:
        return latest
    if at.isdecimal():
        return _version(table, latest, int(at))
    version = next((tag.vectors for tag in list_tags(table) if tag.name == at), None)
    if version is None:
        raise no_tag(table, at)
    return _version(table, latest, version)


def failures_at(table: Table, at: str | None) -> "lance.LanceDataset":
    """The failures table in the same state: at the same tag. For a version of the vector table, or a tag that only the
    vector table has, the version that was its latest at that time.

    Raises as `vectors_at` does.
    """
    latest = table.latest_failures()
    if at is None:
        return latest
    tagged = None if at.isdecimal() else next((tag.failures for tag in list_tags(table) if tag.name == at), None)
    if tagged is not None:
        return _version(table, latest, tagged)
    moment = _made_at(vectors_at(table, at))
    earlier = [each["version"] for each in latest.versions() if each["timestamp"] <= moment]
    if not earlier:
        raise TagError(
            f"table {table}: the failures table's version of that time has been pruned; `pixlake tag {table}` lists "
            "what both tables have a name for"
        )
    return _version(table, latest, max(earlier))


def _made_at(dataset: "lance.LanceDataset") -> datetime:
    """When the version was committed, in this machine's time, without a zone."""
    found: datetime = next(each["timestamp"] for each in dataset.versions() if each["version"] == dataset.version)
    return found


def _version(table: Table, dataset: "lance.LanceDataset", version: int) -> "lance.LanceDataset":
    found = open_dataset(dataset.uri, table.storage, version)
    if found is None:
        there = [each["version"] for each in dataset.versions()]
        raise TagError(
            f"table {table}: there is no version {version}; {len(there)} are there, from {min(there)} to {max(there)}. "
            f"`pixlake tag {table}` lists those that have a name"
        )
    return found
