"""From pairs of rows to the rows of the groups: who is kept, who is a duplicate of it, and how alike they are."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, POSITION_FIELDS, REGION_ID, SHA256
from pipelines.duplicates.groups import Linkage, group
from pipelines.duplicates.keep import KeepRule, order_of, read_members
from pipelines.duplicates.pairs.cells import unit_rows
from pipelines.duplicates.pairs.find import FoundPairs
from pipelines.duplicates.pairs.rows import MatchingRows
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.space.flat import flat_numpy

EXACT, NEAR = "exact", "near"
MEMBERS = pa.schema(
    [
        pa.field("group", pa.int64()),
        pa.field("id", pa.large_string()),
        *POSITION_FIELDS,
        pa.field(REGION_ID.name, pa.large_string()),
        pa.field("kept", pa.bool_()),
        pa.field("kept_id", pa.large_string()),
        pa.field("kept_region_id", pa.large_string()),
        pa.field(SHA256.name, pa.string()),
        pa.field("kept_sha256", pa.string()),
        pa.field("match", pa.string()),
        pa.field("cosine", pa.float32()),
        pa.field("drop", pa.bool_()),
    ]
)
"""A row for each row of the table that is in a group of at least two. `match` is how it is like the kept one, `exact`
for the same bytes (of regions: and the same box) or `near`, null for the kept one. `drop`: it is not kept, and no row
of the same id stays; of regions, none of the same region id, which is null where rows are whole images."""
_TAKE_ROWS = 4096
_IDS_AT_ONCE = 1_000_000


class _Kept(NamedTuple):
    """For each of M members of nodes in question."""

    kept: np.ndarray
    """(M,) int64: the member that is kept of its group."""
    cosine: np.ndarray
    """(M,) float32: to the kept one; NaN where it is not known yet."""
    rank: np.ndarray
    """(M,) int64: its place in the order in which rows are preferred."""


def members_of(rows: MatchingRows, found: FoundPairs, keep: KeepRule, linkage: Linkage, column: str) -> pa.Table:
    """The members (`MEMBERS`), group by group, the kept one first. Raises `TableError`, `OSError`."""
    numbers = _in_question(found)
    dataset = rows.table.at(rows.version)
    position = [field.name for field in POSITION_FIELDS if field.name in dataset.schema.names]
    digest = [SHA256.name] if SHA256.name in dataset.schema.names else []
    names = list(dict.fromkeys([ID.name, keep.id]))
    read = read_members(rows, numbers, tuple(dict.fromkeys([*names, *position, *digest, *keep.columns])))
    images = None if keep.id == ID.name else _codes(read[ID.name])
    linked = _linked(found, numbers, order_of(read, keep), linkage, images)
    sizes = np.bincount(linked.kept, minlength=len(numbers))
    chosen = np.flatnonzero(sizes[linked.kept] > 1)
    chosen = chosen[np.lexsort((linked.rank[chosen], linked.rank[linked.kept[chosen]]))]
    kept, own = linked.kept[chosen], chosen == linked.kept[chosen]
    cosine = _with_missing(dataset, column, read["_rowid"], chosen, kept, linked.cosine[chosen])
    exact = found.same_bytes[numbers[chosen]] == found.same_bytes[numbers[kept]]
    match = pc.if_else(pa.array(exact), EXACT, NEAR)
    called = {name: read[name].combine_chunks() for name in names}
    columns = {
        "group": np.cumsum(own) - 1,
        **{name: values.take(pa.array(chosen)) for name, values in called.items()},
        **{name: read[name].take(pa.array(chosen)) for name in position},
        **{name: read[name].take(pa.array(chosen)) for name in digest},
        **{f"kept_{name}": read[name].take(pa.array(kept)) for name in digest},
        "kept": own,
        **{f"kept_{name}": values.take(pa.array(kept)) for name, values in called.items()},
        "match": pc.if_else(pa.array(own), pa.scalar(None, pa.string()), match),
        "cosine": cosine,
    }
    columns["drop"] = _droppable(dataset, keep.id, columns[keep.id], own)
    there = [pa.field(name, MEMBERS.field(name).type) for name in MEMBERS.names if name in columns]
    table = pa.table({field.name: columns[field.name] for field in there}).cast(pa.schema(there))
    for name in [name for name in MEMBERS.names if name not in columns]:
        table = table.append_column(MEMBERS.field(name), pa.nulls(len(chosen), MEMBERS.field(name).type))
    return table.select(MEMBERS.names)


def _in_question(found: FoundPairs) -> np.ndarray:
    """(M,) int64, ascending: rows that are not alone in their node, or whose node is like another."""
    asked = np.bincount(found.node, minlength=len(found.node)) > 1
    asked[found.pairs["a"]] = asked[found.pairs["b"]] = True
    return np.flatnonzero(asked[found.node])


def _codes(ids: pa.ChunkedArray) -> np.ndarray:
    """(M,) int64: the same number for the same id."""
    codes: np.ndarray = ids.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return codes.astype(np.int64)


def _linked(
    found: FoundPairs, numbers: np.ndarray, order: np.ndarray, linkage: Linkage, images: np.ndarray | None
) -> _Kept:
    """`order` (M,): the members, best first. Nodes are ranked by their best member. With `images` (M,), of regions, a
    member of the image of the one that is kept is in no group with it."""
    pairs = found.pairs
    rank = np.empty(len(numbers), np.int64)
    rank[order] = np.arange(len(order))
    nodes, best, of_member = np.unique(found.node[numbers[order]], return_index=True, return_inverse=True)
    by_rank = np.argsort(best)
    rank_of_node = np.empty(len(nodes), np.int32)
    rank_of_node[by_rank] = np.arange(len(nodes))
    one = rank_of_node[np.searchsorted(nodes, pairs["a"])]
    other = rank_of_node[np.searchsorted(nodes, pairs["b"])]
    grouped = group(len(nodes), np.minimum(one, other), np.maximum(one, other), pairs["cosine"], linkage)
    node = np.empty(len(numbers), np.int64)
    node[order] = rank_of_node[of_member.ravel()]
    kept = order[best[by_rank]][grouped.kept[node]]
    if images is not None:
        kept = np.where(images == images[kept], np.arange(len(kept)), kept)
    return _Kept(kept, grouped.cosine[node], rank)


def _with_missing(
    dataset: Any, column: str, row_ids: pa.ChunkedArray, members: np.ndarray, kept: np.ndarray, cosine: np.ndarray
) -> np.ndarray:
    """The cosines with those that no pair gave, from the vectors: of a chain, most members were not compared with the
    one that is kept."""
    missing = np.flatnonzero(np.isnan(cosine))
    ids = row_ids.to_numpy()
    filled = cosine.copy()
    for first in range(0, len(missing), _TAKE_ROWS):
        some = missing[first : first + _TAKE_ROWS]
        one, other = (
            unit_rows(flat_numpy(dataset._take_rows(ids[each].tolist(), columns=[column])[column]))
            for each in (members[some], kept[some])
        )
        filled[some] = np.einsum("nd,nd->n", one, other)
    return filled


def _droppable(dataset: Any, name: str, ids: pa.Array, kept: np.ndarray) -> np.ndarray:
    """(M,) bool: members that are not kept and whose id, in the column `name`, no row has that stays: what is deleted
    by its id goes with all rows of that id, such as the same URI listed twice."""
    counted = pc.value_counts(ids.filter(pa.array(~kept)))
    names, times = counted.field("values"), counted.field("counts").to_numpy()
    if not len(names):
        return np.zeros(len(ids), bool)
    there = np.zeros(len(names), np.int64)
    waiting: list[pa.Array] = []
    scanned = plain_scan(dataset, [name], live_rows(dataset.schema), in_order=False)
    for batch in scanned:
        waiting.append(batch[name])
        if sum(map(len, waiting)) >= _IDS_AT_ONCE:
            there += _counts(waiting, names)
            waiting = []
    there += _counts(waiting, names)
    only = names.filter(pa.array(there <= times))
    alone: np.ndarray = pc.is_in(ids, value_set=only).to_numpy(zero_copy_only=False) & ~kept
    return alone


def _counts(ids: list[pa.Array], names: pa.Array) -> np.ndarray:
    """(len(names),): how often each name is among the ids."""
    if not ids:
        return np.zeros(len(names), np.int64)
    at = pc.index_in(pa.chunked_array(ids).cast(names.type), value_set=names).drop_null()
    return np.bincount(at.to_numpy(), minlength=len(names))
