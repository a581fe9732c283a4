"""The groups that `pixlake duplicates` has left beside a table, counted, and the largest of them."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from operators.base.columns import REGION_ID
from pipelines.scan.plain import plain_scan
from pipelines.table.table import Table, open_dataset

_WANTED = {"group", "id", "kept", "drop"}
_SPACE = "space_digest"


class DuplicateGroup(NamedTuple):
    """A group by its ids, the one that stays first."""

    rows: int
    ids: list[str]
    """At most as many as asked for; of regions their `region_id`."""


class DuplicateGroups(NamedTuple):
    """All groups of a table."""

    groups: int
    rows: int
    """In groups."""
    drop: int
    """To drop, were the advice taken."""
    largest: list[DuplicateGroup]
    regions: bool
    """Whether their members are regions of images."""
    space_digest: str | None
    """Of the vectors that were compared; None where there are no groups, or it is not known."""


def read_duplicate_groups(table: Table, largest: int, ids: int) -> DuplicateGroups | None:
    """None where nobody has looked for duplicates. Raises `OSError`."""
    dataset = open_dataset(table.names.duplicates, table.storage)
    if dataset is None or not set(dataset.schema.names) >= _WANTED:
        return None
    sizes, drop = np.zeros(0, np.int64), 0
    for batch in plain_scan(dataset, ["group", "drop"]):
        counts = np.bincount(batch["group"].to_numpy())
        sizes = np.pad(sizes, (0, max(0, len(counts) - len(sizes))))
        sizes[: len(counts)] += counts
        drop += batch["drop"].true_count
    key = REGION_ID.name if _of_regions(dataset) else "id"
    first = np.argsort(-sizes, kind="stable")[:largest].tolist()
    found: dict[int, list[str]] = {number: [] for number in first}
    if first:
        for batch in plain_scan(dataset, ["group", key, "kept"], f"`group` IN ({', '.join(map(str, first))})"):
            rows = pa.table(batch).sort_by([("kept", "descending"), (key, "ascending")]).to_pylist()
            for row in rows:
                found[row["group"]].append(row[key])
    groups = [DuplicateGroup(int(sizes[number]), found[number][:ids]) for number in first]
    return DuplicateGroups(int((sizes > 0).sum()), int(sizes.sum()), drop, groups, key != "id", compared_space(dataset))


def _of_regions(dataset: Any) -> bool:
    name = REGION_ID.name
    some = plain_scan(dataset, [name], limit=1) if name in dataset.schema.names else ()
    return any(batch[name].null_count < batch.num_rows for batch in some)


def compared_space(dataset: Any) -> str | None:
    """Digest of the space of the vectors that a table of duplicates was made from; None where there are no groups, or
    it is not known."""
    if _SPACE not in dataset.schema.names:
        return None
    return next((batch[_SPACE][0].as_py() for batch in plain_scan(dataset, [_SPACE], limit=1) if batch.num_rows), None)
