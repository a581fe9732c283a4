"""Whether what `pixlake duplicates` wrote down to be dropped is still a duplicate of something that stays."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, REGION_ID, SHA256
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan

KEPT_ID, KEPT_SHA256 = "kept_id", "kept_sha256"
NEEDED = (ID.name, SHA256.name, KEPT_ID, KEPT_SHA256)
"""Columns of such a file."""
KEPT_REGION_ID = "kept_region_id"
OF_REGIONS = (*NEEDED, REGION_ID.name, KEPT_REGION_ID)
"""Columns of one that names regions."""
_IDS_AT_ONCE = 1_000_000


def images_alike(dataset: Any, named: pa.Table) -> tuple[pa.Array, int]:
    """(ids of the images of which every region is named and still a duplicate, how many other images are named), for
    rows of `OF_REGIONS`. A region that stays is never of such an image. Memory: the ids that are named."""
    regions = named.select([REGION_ID.name, SHA256.name, KEPT_REGION_ID, KEPT_SHA256]).rename_columns(list(NEEDED))
    alike = named.filter(still_alike(dataset, regions, REGION_ID.name))
    images = pc.unique(named[ID.name])
    held, wanted = np.zeros(len(images), np.int64), np.zeros(len(images), np.int64)
    distinct = alike.select([ID.name, REGION_ID.name]).group_by([ID.name, REGION_ID.name]).aggregate([])
    wanted += _counts(distinct[ID.name], images)
    waiting: list[pa.Array] = []
    for batch in plain_scan(dataset, [ID.name], live_rows(dataset.schema), in_order=False):
        waiting.append(batch[ID.name])
        if sum(map(len, waiting)) >= _IDS_AT_ONCE:
            held += _counts(pa.chunked_array(waiting), images)
            waiting = []
    held += _counts(pa.chunked_array(waiting, pa.string()), images)
    whole = images.filter(pa.array((held > 0) & (held == wanted)))
    return whole, len(images) - len(whole)


def _counts(ids: pa.ChunkedArray, names: pa.Array) -> np.ndarray:
    """(len(names),): how often each name is among the ids."""
    at = pc.index_in(ids.cast(names.type), value_set=names).drop_null()
    return np.bincount(at.to_numpy(), minlength=len(names))


def still_alike(dataset: Any, named: pa.Table, name: str = ID.name) -> pa.Array:
    """(N,) bool for N rows of `NEEDED`, all strings: the row that stays is there, with the same bytes, is not to be
    dropped itself, and the one to be dropped has no other bytes than it had. Ids are those of the column `name`.

    Where the table knows no sha256 only what is there can be asked. Memory: the ids that are named.
    """
    ids, kept = named[ID.name], named[KEPT_ID]
    both = pc.unique(pa.chunked_array([*ids.chunks, *kept.chunks]))
    columns = [each for each in (name, SHA256.name) if each in dataset.schema.names]
    found = [pa.schema([pa.field(each, pa.string()) for each in columns]).empty_table()]
    for batch in plain_scan(dataset, columns, live_rows(dataset.schema), in_order=False):
        rows = pa.table(batch).select(columns).cast(found[0].schema)
        found.append(rows.filter(pc.is_in(rows[name], value_set=both)))
    there = pa.concat_tables(found)
    now = there[SHA256.name] if SHA256.name in columns else pa.nulls(there.num_rows, pa.string())
    keys = _keys(there[name], now)
    stays = pc.and_not(
        pc.is_in(_keys(kept, named[KEPT_SHA256]), value_set=keys), pc.is_in(kept, value_set=pc.unique(ids))
    )
    other = pc.invert(pc.is_in(keys, value_set=_keys(ids, named[SHA256.name])))
    changed = pc.is_in(ids, value_set=pc.unique(there[name].filter(other)))
    return pa.array(pc.and_not(stays, changed).to_numpy(), pa.bool_())


def _keys(ids: Any, digests: Any) -> Any:
    """An id and the bytes of its image as one text: a digest holds no line break."""
    return pc.binary_join_element_wise(pc.fill_null(digests, ""), ids, "\n")
