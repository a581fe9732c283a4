"""Which rows of a table gates look at, and the same sample of them each time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, REGION
from pipelines.scan.live import live_rows
from pipelines.scan.sql import sql_column
from pipelines.search.nearest import ROW_ID, take_rows
from pipelines.space.samples import mixed
from pipelines.table.layout import FIRST_REGION, layout_of
from pipelines.table.positions import table_keys

_BATCH_ROWS = 65_536


def rows_with(schema: pa.Schema, columns: Sequence[str]) -> str:
    """SQL for the live rows that have a vector in every one of the columns."""
    there = [f"{sql_column(name)} IS NOT NULL" for name in columns]
    live = live_rows(schema)
    return " AND ".join([*there, *([live] if live else [])])


def sample_rows(
    dataset: Any, columns: Sequence[str], where: str, count: int, seed: int, *, images: bool = False
) -> pa.Table:
    """Up to `count` rows that match the SQL, with their `_rowid` and `id`, chosen by their positions: the same ones
    after a compaction, and mostly the same ones after rows were added. A field of a struct is named as in a scan:
    region.label.

    `images` takes one row of each image. Positions are streamed; memory is that of the sample.
    """
    regions = layout_of(dataset.schema) == "rows"
    if images and regions:
        where = f"({where}) AND {FIRST_REGION}"
    scanner = dataset.scanner(
        columns=["shard", "row", *([f"{REGION.name}.index"] if regions else [])],
        filter=where,
        with_row_id=True,
        batch_size=_BATCH_ROWS,
        use_scalar_index=False,
    )
    hashes, row_ids = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    for batch in scanner.to_batches():
        hashes = np.concatenate([hashes, _hashes(batch, seed)])
        row_ids = np.concatenate([row_ids, batch[ROW_ID].to_numpy()])
        kept = np.argsort(hashes, kind="stable")[:count]
        hashes, row_ids = hashes[kept], row_ids[kept]
    wanted = dict.fromkeys([*columns, ID.name])
    row_ids = np.sort(row_ids)
    rows = take_rows(dataset, row_ids, [*wanted]) if len(row_ids) else dataset.schema.empty_table()
    return rows.flatten().select([*wanted]).append_column(ROW_ID, pa.array(row_ids))


def _hashes(batch: pa.RecordBatch, seed: int) -> np.ndarray:
    """(N,) uint64 of the rows' positions, with the number of the region where each has a row."""
    start = mixed(np.array([seed], np.uint64))
    hashes = mixed(table_keys(batch).astype(np.uint64) ^ start)
    if f"{REGION.name}.index" in batch.schema.names:
        index = pc.fill_null(batch[f"{REGION.name}.index"], 0).to_numpy().astype(np.uint64)
        hashes = mixed(hashes ^ mixed(index))
    return hashes
