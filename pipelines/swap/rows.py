"""The manifest of a backfill: the table's own images that no pass has tried yet, as Parquet beside the side table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.base.columns import ID, URI
from operators.storage.stores import filesystem
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.swap.fill import lacking_rows
from pipelines.swap.hashed import content_columns
from pipelines.swap.side import UNTRIED, SideRows, side_table
from pipelines.table.layout import FIRST_REGION, layout_of
from pipelines.table.table import Table, open_dataset

_FILE_ROWS = 1 << 18


def write_rows(table: Table, column: str, kept: Sequence[str], folder: str) -> int:
    """Write a manifest of the live images without a vector in the column, which may not be there yet, and that the side
    table, where there is one, knows nothing of; gives how many.

    Columns: `id`, `uri`, and those that are `kept` for regions. Files are of 262,144 rows, in the table's own order, so
    that what a worker embeds lies together in the side table too. A folder without rows has no files. Raises `OSError`.
    """
    dataset = table.latest()
    columns = [ID.name, URI.name, *kept]
    schema = pa.schema([dataset.schema.field(name) for name in columns]).remove_metadata()
    with TemporaryDirectory(prefix="pixlake-swap-") as scratch:
        side = side_table(table)
        known = None if open_dataset(side.uri, side.storage) is None else SideRows(side, Path(scratch))
        rows = 0
        for number, part in enumerate(_parts(_images(dataset, column, columns, known))):
            _write(part.select(columns).cast(schema), f"{folder}/{number:06d}.parquet", table)
            rows += part.num_rows
    return rows


def _images(
    dataset: "lance.LanceDataset", column: str, columns: Sequence[str], known: SideRows | None
) -> Iterator[pa.Table]:
    """A row for each image: of the rows of its regions the first."""
    schema = dataset.schema
    wanted = [lacking_rows(schema, column) if column in schema.names else live_rows(schema)]
    wanted += [FIRST_REGION] if layout_of(schema) == "rows" else []
    where = " AND ".join(f"({each})" for each in wanted if each is not None)
    read = list(dict.fromkeys([*columns, *content_columns(schema)]))
    for batch in plain_scan(dataset, read, where or None):
        untried = np.ones(batch.num_rows, bool) if known is None else known.why_not(batch) == UNTRIED
        yield pa.Table.from_batches([batch]).filter(pa.array(untried))


def _parts(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    part = list[pa.Table]()
    for batch in batches:
        part.append(batch)
        if sum(each.num_rows for each in part) >= _FILE_ROWS:
            yield pa.concat_tables(part)
            part = []
    if sum(each.num_rows for each in part):
        yield pa.concat_tables(part)


def _write(rows: pa.Table, uri: str, table: Table) -> None:
    store, path = filesystem(uri, table.storage)
    store.makedirs(path.rpartition("/")[0], exist_ok=True)
    held: Any
    with store.open(path, "wb") as held:
        pq.write_table(rows, held, row_group_size=_FILE_ROWS // 4)
