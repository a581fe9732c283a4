"""What was taken down: a table of its own beside the others, which later runs of any manifest obey.

Takedowns are added by plain appends, which land whatever else is committed; a record that is there twice means the same
as once. The record is written before the rows are deleted, so a deletion that was killed is seen here and finished by
whoever claims the table next: `_CARRIED_OUT` in the table's metadata is the number of records whose rows are known to
be gone.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID
from operators.base.counted import counted
from operators.storage.stores import lance_options
from pipelines.ledger.entries import ManifestEntry
from pipelines.ledger.skip_ids import SkipIds
from pipelines.scan.sql import sql_text
from pipelines.table.fenced_operations import places_of
from pipelines.table.fenced_table import FencedTable
from pipelines.table.positions import PositionSet, table_keys
from pipelines.table.publish import update_table_metadata
from pipelines.table.table import Table, open_dataset

TAKEDOWNS_SCHEMA = pa.schema(
    [
        ID,
        pa.field("manifest", pa.string()),
        pa.field("shard", pa.int32()),
        pa.field("row", pa.int32()),
        pa.field("deleted_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""A row for each place of an id. `manifest` is `ManifestEntry.key`, since shard numbers may be given out again after a
restore. The place is null for an id that was nowhere. There is no URI: a takedown does not keep what it takes down."""

_CARRIED_OUT = "pixlake.carried_out"
_NAMED = 5


@dataclass(frozen=True)
class Takedowns:
    """The records of one table at present."""

    records: pa.Table
    carried_out: int

    @classmethod
    def read(cls, table: Table) -> "Takedowns":
        """Read the records. Raises `OSError` where storage fails."""
        dataset = open_dataset(table.names.deleted, table.storage)
        if dataset is None:
            return cls(TAKEDOWNS_SCHEMA.empty_table(), 0)
        records = dataset.scanner(columns=TAKEDOWNS_SCHEMA.names, use_scalar_index=False).to_table()
        return cls(records, int(dataset.metadata.get(_CARRIED_OUT, "0")))

    @property
    def finished(self) -> bool:
        """Whether all rows on record are known to be gone."""
        return bool(self.carried_out == self.records.num_rows)

    @cached_property
    def ids(self) -> pa.Array:
        """The ids, each once. A row without an id (a failure whose URI is none) is recorded by its place alone."""
        return pc.unique(self.records[ID.name]).drop_null()

    def known_ids(self) -> SkipIds | None:
        """The ids that workers leave out; None where nothing was ever taken down."""
        return SkipIds.from_columns([self.ids]) if len(self.ids) else None

    def positions(self, manifest: str) -> PositionSet:
        """Positions on record in one manifest."""
        found = PositionSet()
        found.add(table_keys(self.records.filter(pc.equal(self.records["manifest"], manifest)).combine_chunks()))
        return found


def come_back(takedowns: Takedowns, table: str, vectors: Any, failures: Any) -> list[str]:
    """A sentence where rows with taken-down ids are back; for it all ids of both Lance datasets are read."""
    if not len(takedowns.ids) or not takedowns.finished:
        # What is not finished the next run deletes.
        return []
    there = [places_of(dataset, takedowns.ids)[ID.name] for dataset in (vectors, failures)]
    return said_of_back([each for ids in there for each in ids.to_pylist()], table)


def said_of_back(there: Iterable[str], table: str) -> list[str]:
    """The sentence, where taken-down ids have rows: those that are `there`."""
    ids = sorted(set(there))
    if not ids:
        return []
    named = " ".join(f"--id {shlex.quote(each)}" for each in ids[:_NAMED])
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    back = counted(len(ids), "id that was taken down has", "ids that were taken down have")
    return [
        f"{back} rows again ({', '.join(ids[:_NAMED])}{more}): another tool has "
        f"restored an earlier version, or added them. `pixlake delete {shlex.quote(table)} {named}` deletes the rows "
        "of all recorded ids once more; with --forget these ids stay"
    ]


def record_takedowns(table: Table, records: pa.Table) -> None:
    """Append rows of `TAKEDOWNS_SCHEMA`; makes the table where there is none. Raises `OSError` where storage fails."""
    if not records.num_rows:
        return
    uri = table.names.deleted
    FencedTable.create_or_open(uri, TAKEDOWNS_SCHEMA, table.storage)
    options = lance_options(uri, table.storage)
    lance.write_dataset(records.cast(TAKEDOWNS_SCHEMA), uri, mode="append", storage_options=options)


def takedown_records(
    ids: Sequence[str] | pa.Array, manifest: str | None = None, keys: np.ndarray | None = None
) -> pa.Table:
    """Records made now; `keys` are the positions of the ids, all in one manifest."""
    count = len(ids)
    now = pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC"))
    shards = pa.nulls(count, pa.int32()) if keys is None else pa.array((keys >> 32).astype(np.int32))
    rows = pa.nulls(count, pa.int32()) if keys is None else pa.array((keys & 0xFFFFFFFF).astype(np.int32))
    columns = [pa.array(ids, pa.string()), pa.array([manifest] * count, pa.string()), shards, rows]
    return pa.table([*columns, pa.repeat(now, count)], schema=TAKEDOWNS_SCHEMA)


def records_of_places(places: pa.Table, entries: Sequence[ManifestEntry]) -> pa.Table:
    """Records for rows (`id`, `shard`, `row`), one for all regions of an image. Rows in no manifest get no place."""
    shards = places["shard"]
    records = []
    inside = pa.array(np.zeros(places.num_rows, bool))
    for entry in entries:
        first, end = entry.first_shard, entry.first_shard + entry.num_shards
        mine = pc.fill_null(pc.and_(pc.greater_equal(shards, first), pc.less(shards, end)), False)
        rows = places.filter(mine).group_by(["id", "shard", "row"]).aggregate([])
        records.append(takedown_records(rows[ID.name].combine_chunks(), entry.key, table_keys(rows)))
        inside = pc.or_(inside, mine)
    outside = pc.unique(places.filter(pc.invert(inside))[ID.name])
    return pa.concat_tables([*records, takedown_records(outside)])


def note_carried_out(table: Table, records: int) -> None:
    """Note that the rows of so many records, which are all there are, are gone."""
    update_table_metadata(table.names.deleted, {_CARRIED_OUT: str(records)}, table.storage)


def forget_takedowns(table: Table, ids: Sequence[str]) -> int:
    """Delete the records of these ids; gives how many of the ids had one."""
    before = Takedowns.read(table)
    known = sorted(set(ids) & set(before.ids.to_pylist()))
    if known:
        dataset = open_dataset(table.names.deleted, table.storage)
        assert dataset is not None
        dataset.delete(f"`{ID.name}` IN ({', '.join(map(sql_text, known))})")
        if before.finished:
            left = pc.sum(pc.invert(pc.fill_null(pc.is_in(before.records[ID.name], pa.array(known)), False))).as_py()
            note_carried_out(table, left)
    return len(known)
