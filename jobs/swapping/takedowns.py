"""Takedowns carried into the side table of a swap: what is deleted from a table is in no table beside it either."""

import pyarrow.compute as pc

from pipelines.commits.committer import Committer
from pipelines.ledger.takedowns import Takedowns, note_carried_out, record_takedowns, takedown_records
from pipelines.swap.side import side_table
from pipelines.table.table import Table, open_dataset


def take_down_beside(table: Table, run_id: str) -> None:
    """Take what is recorded out of the side table of a model swap too, where there is one: it holds the images' new
    vectors until the swap is finished. A backfill that is on is stopped, if there is anything to delete, and goes on
    without them. Raises `TableError` and `OSError` where storage fails."""
    side, ids = side_table(table), Takedowns.read(table).ids
    dataset = open_dataset(side.uri, side.storage)
    if dataset is None:
        return
    known = pc.is_in(ids, value_set=Takedowns.read(side).ids)
    record_takedowns(side, takedown_records(ids.filter(pc.invert(known))))
    takedowns = Takedowns.read(side)
    if takedowns.finished:
        return
    committer = Committer.open(side.names, dataset.schema, run_id=run_id, storage=side.storage)
    committer.delete_ids(takedowns.ids)
    note_carried_out(side, takedowns.records.num_rows)
