"""Whether what `pixlake duplicates` wrote down to be dropped is still a duplicate of something that stays."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, SHA256
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan

KEPT_ID, KEPT_SHA256 = "kept_id", "kept_sha256"
NEEDED = (ID.name, SHA256.name, KEPT_ID, KEPT_SHA256)
"""Columns of such a file."""


def still_alike(dataset: Any, named: pa.Table) -> pa.Array:
    """(N,) bool for N rows of `NEEDED`, all strings: the image that stays is there, with the same bytes, is not to be
    dropped itself, and the one to be dropped has no other bytes than it had.

    Where the table knows no sha256 only what is there can be asked. Memory: the ids that are named.
    """
    ids, kept = named[ID.name], named[KEPT_ID]
    both = pc.unique(pa.chunked_array([*ids.chunks, *kept.chunks]))
    columns = [name for name in (ID.name, SHA256.name) if name in dataset.schema.names]
    found = [pa.schema([pa.field(name, pa.string()) for name in columns]).empty_table()]
    for batch in plain_scan(dataset, columns, live_rows(dataset.schema), in_order=False):
        rows = pa.table(batch).select(columns).cast(found[0].schema)
        found.append(rows.filter(pc.is_in(rows[ID.name], value_set=both)))
    there = pa.concat_tables(found)
    now = there[SHA256.name] if SHA256.name in columns else pa.nulls(there.num_rows, pa.string())
    keys = _keys(there[ID.name], now)
    stays = pc.and_not(
        pc.is_in(_keys(kept, named[KEPT_SHA256]), value_set=keys), pc.is_in(kept, value_set=pc.unique(ids))
    )
    other = pc.invert(pc.is_in(keys, value_set=_keys(ids, named[SHA256.name])))
    changed = pc.is_in(ids, value_set=pc.unique(there[ID.name].filter(other)))
    return pa.array(pc.and_not(stays, changed).to_numpy(), pa.bool_())


def _keys(ids: Any, digests: Any) -> Any:
    """An id and the bytes of its image as one text: a digest holds no line break."""
    return pc.binary_join_element_wise(pc.fill_null(digests, ""), ids, "\n")
