"""What the side table of a backfill holds: where the new vector of a row lies, and of which images nothing came."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID
from operators.base.errors import ErrorClass
from operators.storage.uris import from_anywhere
from pipelines.ledger.entries import read_entries
from pipelines.scan.plain import plain_scan
from pipelines.swap.hashed import HashedRows, content_columns, content_hashes, id_hashes
from pipelines.swap.state import Swap
from pipelines.table.names import TableNames
from pipelines.table.open import TableInfo, open_existing
from pipelines.table.table import Table

CLASSES = ("", *ErrorClass)
"""What came of an id: a vector, or a failure of one of the classes."""
UNTRIED = "untried"
"""Class of a row that no pass has tried yet."""
CHANGED = "changed"
"""Class of a row whose image has other bytes by now than when its old vector was made."""
NO_SHA256 = "no_sha256"
"""Class of a row of which the table does not say what bytes its old vector was made of."""


def side_table(table: Table) -> Table:
    """The table beside it into which the backfill of a swap embeds: `NAME__swap`."""
    names = TableNames(database=table.names.database, name=f"{table.names.name}__swap")
    called = None if table.called is None else f"{table.called.rstrip('/').removesuffix('.lance')}__swap"
    return Table(names=names, storage=table.storage, called=called)


def manifests_of(side: Table) -> str:
    """The folder of the manifests that backfills embed into the side table, beside which it lies and is dropped."""
    return f"{side.names.runs}/rows/"


def made_by_swap(side: Table, existing: TableInfo) -> bool:
    """Whether a backfill has made what goes by the side table's name: the name is not kept from others."""
    entries = read_entries(existing.metadata, existing.failures_metadata)
    manifests = from_anywhere(manifests_of(side))
    return bool(entries) and all(entry.source.startswith(manifests) for entry in entries)


def left_over(table: Table, swap: Swap | None) -> str | None:
    """A sentence on a side table that no swap of the table needs, with what drops it; None where there is none."""
    side = side_table(table)
    existing = open_existing(side) if swap is None or swap.over else None
    if existing is None or not made_by_swap(side, existing):
        return None
    own, failures = side.names.name, side.names.failures.rpartition("/")[2].removesuffix(".lance")
    return (
        f"{own} is left over of a swap of which this state of the table, which another tool has restored, does not "
        f"know. The next `pixlake swap {table}` drops it; LanceDB does so now: "
        f'connect("{side.names.database}").drop_table("{own}"), and the same of "{failures}"'
    )


class SideRows:
    """The rows of one version of a side table, looked up by hashes on scratch disk."""

    def __init__(self, side: Table, folder: Path) -> None:
        """Reads ids, digests and numbers of regions, not vectors: 100 bytes a row or so. Raises `UserError` where
        there is no side table, `OSError` where storage or scratch disk fails."""
        vectors, failures = side.latest(), side.latest_failures()
        self.version = vectors.version
        self._rows, self._ids = HashedRows(folder / "rows"), HashedRows(folder / "ids")
        for batch in plain_scan(vectors, content_columns(vectors.schema), with_row_address=True):
            self._rows.add(content_hashes(batch), batch["_rowaddr"].to_numpy())
            hashes = np.unique(id_hashes(batch))
            self._ids.add(hashes, np.zeros(len(hashes), np.uint64))
        for batch in plain_scan(failures, [ID.name, "error_class"]):
            classes = pc.index_in(batch["error_class"], value_set=pa.array(CLASSES))
            self._ids.add(id_hashes(batch), classes.to_numpy().astype(np.uint64))
        self._rows.sort()
        self._ids.sort()

    def addresses(self, rows: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """((M,) places in `rows`, (M,) addresses of rows of the side table that may be of the same image, region and
        bytes), by place."""
        return self._rows.find(content_hashes(rows))

    def why_not(self, rows: pa.RecordBatch) -> np.ndarray:
        """(N,) of text: why the side table has no vector for a row, one of its classes of failure, `changed` or
        `untried`."""
        places, values = self._ids.find(id_hashes(rows))
        why = np.full(rows.num_rows, UNTRIED, object)
        # The last failure of an id counts, and that there is a vector of other bytes more than any failure.
        for value in range(len(CLASSES) - 1, -1, -1):
            why[places[values == value]] = CLASSES[value] or CHANGED
        return why
