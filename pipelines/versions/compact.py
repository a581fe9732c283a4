"""Small fragments of a table put together, and rows that are deleted taken out of their files, while others write.

Lance (13.0.0) carries every index over: what a segment covered it covers afterwards, and rows that no index held stay
unindexed. Each commit conflicts with a commit that touches the same fragments, and a run's commits list the table's
lowest fragment: a run that is on tries again by itself, and this gives way.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import lance
from lance.optimize import Compaction

from operators.storage.stores import StorageOptions
from pipelines.space.field import vector_columns
from pipelines.table.errors import TableError
from pipelines.table.table import open_dataset

TARGET_ROWS = 1 << 20
"""Rows of a fragment that needs no other."""
MOST_DELETED = 0.1
"""Share of deleted rows from which on a fragment is written anew without them."""
COMMIT_ROWS = 16 << 20
"""Rows that are rewritten before they are committed: what a kill or a conflict loses at most. Each commit writes the
segments anew that cover them."""


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """What was done to one table."""

    fragments_before: int
    fragments: int
    rows: int = 0
    """Rows that were written anew."""
    unfilled: int = 0
    """Fragments that were left because a vector column is not filled there."""
    gave_way: bool = False
    """Whether some were left as they are because another process was writing to them."""


def compact(
    uri: str,
    storage: StorageOptions,
    *,
    target_rows: int = TARGET_ROWS,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Compacted:
    """Compact one table; nothing is committed where nothing is small or full of deleted rows.

    Fragments that lack a vector column, which is being filled, are left until they have it. After each task `on_rows`
    is called with the rows written so far. Raises `TableError` where there is no table, `OSError` where storage fails.
    """
    dataset = _open(uri, storage)
    before, rows, gave_way = len(dataset.get_fragments()), 0, False
    while tasks := _first_tasks(dataset, target_rows, without_fence=gave_way):
        results = []
        for task in tasks:
            results.append(task.execute(dataset))
            rows += sum(_rows(fragment) for fragment in task.fragments)
            on_rows(rows)
        try:
            Compaction.commit(dataset, results)
        except OSError as error:
            if "onflict" not in str(error):
                raise
            rows -= sum(_rows(fragment) for task in tasks for fragment in task.fragments)
            if gave_way:
                break
            gave_way = True
        dataset = _open(uri, storage)
    return Compacted(
        fragments_before=before,
        fragments=len(dataset.get_fragments()),
        unfilled=len(unfilled(dataset)),
        rows=rows,
        gave_way=gave_way,
    )


def _open(uri: str, storage: StorageOptions) -> "lance.LanceDataset":
    dataset = open_dataset(uri, storage)
    if dataset is None:
        raise TableError(f"{uri}: there is no table, or it was dropped")
    return dataset


def _first_tasks(dataset: "lance.LanceDataset", target_rows: int, *, without_fence: bool) -> list[Any]:
    """The tasks of the next commit. Without the lowest fragment they touch nothing that the commits of runs list."""
    excluded = unfilled(dataset)
    if without_fence:
        excluded |= set(sorted(fragment.fragment_id for fragment in dataset.get_fragments())[:1])
    options = {
        "target_rows_per_fragment": target_rows,
        "materialize_deletions_threshold": MOST_DELETED,
        "excluded_fragment_ids": sorted(excluded),
    }
    chosen: list[Any] = []
    waiting = 0
    for task in Compaction.plan(dataset, options).tasks:
        chosen.append(task)
        waiting += sum(_rows(fragment) for fragment in task.fragments)
        if waiting >= COMMIT_ROWS:
            break
    return chosen


def unfilled(dataset: "lance.LanceDataset") -> set[int]:
    """Ids of the fragments that lack a vector column, as while it is being filled.

    A compaction would give them the column, with nulls: that they lack it says that they are still to be done.
    """
    columns = set(vector_columns(dataset.schema))
    fields = [set(_field_ids([field])) for field in dataset.lance_schema.fields() if field.name() in columns]
    return {
        fragment.fragment_id
        for fragment in dataset.get_fragments()
        for held in [{each for file in fragment.metadata.files for each in file.fields}]
        if not all(ids & held for ids in fields)
    }


def _field_ids(fields: Any) -> Iterator[int]:
    for field in fields:
        yield field.id()
        yield from _field_ids(field.children())


def _rows(fragment: Any) -> int:
    return int(fragment.physical_rows)
