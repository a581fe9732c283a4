"""Near-duplicates and clusters, where other commands have found some: `pixlake duplicates`, `pixlake cluster`."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import BaseModel

from jobs.web.asked import ServedRow
from jobs.web.described import CLUSTER
from operators.base.columns import ID, REGION, REGION_ID
from pipelines.overview.duplicate_groups import compared_space
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.scan.python_rows import python_rows
from pipelines.scan.sql import sql_text
from pipelines.search.nearest import ROW_ID, take_rows
from pipelines.search.rows import row_ids_of, shown_columns
from pipelines.space.choose import not_in_swap
from pipelines.space.field import read_space, vector_columns
from pipelines.space.record import space_digest
from pipelines.table.layout import layout_of
from pipelines.table.table import Table, open_dataset

MOST_MEMBERS = 24
"""Images of one group that are shown."""
_EXAMPLES = 6
_MOST_CLUSTERS = 500
_MEMBERS = ("group", "id", "kept", "match", "cosine")


class AlikeImage(BaseModel):
    """An image of a group of near-duplicates."""

    row: ServedRow
    kept: bool
    """Whether it stays where the others are dropped."""
    match: str | None
    """How it is like the one that is kept: `exact`, the same bytes, or `near`; null for that itself."""
    cosine: float | None


class AlikeGroup(BaseModel):
    """Images that are nearly the same, the one that is kept first."""

    group: int
    images: list[AlikeImage]


class AlikeGroups(BaseModel):
    """Groups in the order of their table."""

    groups: list[AlikeGroup]
    of: int
    """Images in all groups."""
    current: bool
    """Whether the table still has the vectors that were compared, which it has not after a swap of the model."""
    version: int
    more: bool


class ServedCluster(BaseModel):
    """A cluster, and the images nearest its centre."""

    number: int
    rows: int
    cosine: float | None
    """The mean cosine of its rows to its centre."""
    examples: list[ServedRow]


class ServedClusters(BaseModel):
    """The clusters of a table, the largest first."""

    column: str
    clusters: list[ServedCluster]
    of: int
    unassigned: int
    """Rows without a cluster."""
    version: int


def duplicates_of(table: Table) -> Any:
    """The table of groups (a Lance dataset); None where there is none that can be read as one."""
    found = open_dataset(table.names.duplicates, table.storage)
    return found if found is not None and {*_MEMBERS} <= {*found.schema.names} else None


def alike_groups(dataset: Any, duplicates: Any, after: int, limit: int) -> AlikeGroups:
    """Up to `limit` groups behind the one with the number `after`."""
    groups: dict[int, list[dict[str, Any]]] = {}
    key = _key(dataset, duplicates)
    for batch in plain_scan(duplicates, [*dict.fromkeys([*_MEMBERS, key])], f"`group` > {after}", batch_size=4096):
        for member in batch.to_pylist():
            groups.setdefault(member["group"], []).append(member)
        if len(groups) > limit + 1:
            break
    numbers = list(groups)[:limit]
    return AlikeGroups(
        groups=_served_groups(dataset, {number: groups[number][:MOST_MEMBERS] for number in numbers}, key),
        of=duplicates.count_rows(),
        current=_has_space(dataset, compared_space(duplicates)),
        version=dataset.version,
        more=len(groups) > limit,
    )


def _has_space(dataset: Any, digest: str | None) -> bool:
    names = not_in_swap(vector_columns(dataset.schema))
    return digest is None or digest in {
        space_digest(read_space(dataset.schema.field(name), dataset.uri)[0]) for name in names
    }


def alike_of(dataset: Any, duplicates: Any, name: str) -> AlikeGroup | None:
    """The group of one image; None where nothing is like it."""
    column = _key(dataset, duplicates)
    own = plain_scan(duplicates, ["group"], f"`{column}` = {sql_text(name)}", limit=1)
    number = next((batch["group"][0].as_py() for batch in own if batch.num_rows), None)
    if number is None:
        return None
    columns = [*dict.fromkeys([*_MEMBERS, column])]
    batches = plain_scan(duplicates, columns, f"`group` = {int(number)}", limit=MOST_MEMBERS)
    members = [member for batch in batches for member in batch.to_pylist()]
    return next(iter(_served_groups(dataset, {number: members}, column)), None)


def _key(dataset: Any, duplicates: Any) -> str:
    """The column that names a member: of regions that of the region."""
    regions = layout_of(dataset.schema) == "rows" and REGION_ID.name in duplicates.schema.names
    return str(REGION_ID.name if regions else ID.name)


def _served_groups(dataset: Any, groups: dict[int, list[dict[str, Any]]], key: str) -> list[AlikeGroup]:
    """The groups' images as rows of the table now: what has left it since is left out."""
    rows = row_ids_of(dataset, [member[key] for members in groups.values() for member in members], key)
    served = dict(zip(rows, served_rows(dataset, list(rows.values())), strict=True))
    found = []
    for number, members in groups.items():
        images = [
            AlikeImage(row=served[member[key]], kept=member["kept"], match=member["match"], cosine=member["cosine"])
            for member in members
            if member[key] in served
        ]
        if images:
            found.append(AlikeGroup(group=number, images=images))
    return found


def served_rows(dataset: Any, row_ids: Iterable[int]) -> list[ServedRow]:
    """The rows of these ids, in their order, without vectors."""
    numbers = np.array(list(row_ids), np.uint64)
    rows = python_rows(take_rows(dataset, numbers, shown_columns(dataset.schema)))
    return [
        ServedRow(row=str(number), region=row.pop(REGION.name, None), values=row)
        for number, row in zip(numbers.tolist(), rows, strict=True)
    ]


def served_clusters(dataset: Any) -> ServedClusters:
    """Sizes, cohesion and the images nearest each centre, from one pass over two columns of numbers."""
    cosine = f"{CLUSTER}_cosine"
    cosine_there = cosine in dataset.schema.names
    best = _Clusters()
    columns = [CLUSTER, *([cosine] if cosine_there else [])]
    for batch in plain_scan(dataset, columns, live_rows(dataset.schema), with_row_id=True):
        numbers = batch[CLUSTER].to_numpy(zero_copy_only=False).astype(np.float64)
        near = batch[cosine].to_numpy(zero_copy_only=False).astype(np.float64) if cosine_there else None
        best.add(numbers, near, batch[ROW_ID].to_numpy())
    largest = sorted(best.sizes, key=lambda number: (-best.sizes[number], number))[:_MOST_CLUSTERS]
    rows = [row for number in largest for _, row in best.examples[number]]
    served = iter(served_rows(dataset, rows))
    clusters = [
        ServedCluster(
            number=number,
            rows=best.sizes[number],
            cosine=best.sums[number] / best.sizes[number] if cosine_there else None,
            examples=[next(served) for _ in best.examples[number]],
        )
        for number in largest
    ]
    return ServedClusters(
        column=CLUSTER,
        clusters=clusters,
        of=len(best.sizes),
        unassigned=best.unassigned,
        version=dataset.version,
    )


class _Clusters:
    """What is known of each cluster from the rows that were added."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.sums: dict[int, float] = {}
        self.examples: dict[int, list[tuple[float, int]]] = {}
        """(minus the cosine, row id), the nearest first."""
        self.unassigned = 0

    def add(self, numbers: np.ndarray, cosines: np.ndarray | None, row_ids: np.ndarray) -> None:
        """`numbers` and `cosines` (N,) float64, NaN for null; `row_ids` (N,) uint64."""
        there = ~np.isnan(numbers)
        self.unassigned += int(len(numbers) - there.sum())
        numbers, row_ids = numbers[there].astype(np.int64), row_ids[there]
        near = np.zeros(len(numbers)) if cosines is None else np.nan_to_num(cosines[there])
        order = np.lexsort((-near, numbers))
        _, starts = np.unique(numbers[order], return_index=True)
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            own = order[start:end]
            number = int(numbers[own[0]])
            self.sizes[number] = self.sizes.get(number, 0) + len(own)
            self.sums[number] = self.sums.get(number, 0.0) + float(near[own].sum())
            new = [(-float(near[at]), int(row_ids[at])) for at in own[:_EXAMPLES]]
            self.examples[number] = sorted([*self.examples.get(number, []), *new])[:_EXAMPLES]
