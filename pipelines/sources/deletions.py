"""Which rows of a manifest were in its tables, or were taken down, and are in neither table now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import ID
from pipelines.ledger.ledger import Ledger
from pipelines.manifests.manifest import Shard
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work
from pipelines.table.positions import PositionSet, position_keys, table_keys
from pipelines.table.table import Table, open_dataset

_READ_ROWS = 8192


@dataclass(frozen=True)
class Deletions:
    """Positions of one manifest that are in neither table."""

    recorded: PositionSet
    """Positions that we took down."""
    unrecorded: PositionSet
    """Positions that another tool deleted, or that went with a version when an earlier one was restored."""

    @property
    def all(self) -> PositionSet:
        return self.recorded.union(self.unrecorded)


def find_deletions(ledger: Ledger, past: PositionSet, taken_down: PositionSet) -> Deletions:
    """Deleted positions: `past` was once committed, `taken_down` is on record, and the ledger says what is there."""
    there = (ledger.vectors, ledger.failures, ledger.skipped)
    return Deletions(taken_down.minus(*there), past.minus(*there, taken_down))


def deleted_in_place(table: Table, ledger: Ledger) -> PositionSet:
    """Positions of the ledger's shards whose rows are marked as deleted in files that are still there: without notes,
    nothing else tells them from rows never embedded. A compaction, or a delete of a whole fragment, removes the
    marks."""
    found = PositionSet()
    for uri in (table.uri, table.names.failures):
        dataset = open_dataset(uri, table.storage)
        marked = [f for f in dataset.get_fragments() if f.metadata.deletion_file] if dataset is not None else []
        for batch in _with_deleted(dataset, marked, ledger) if marked else ():
            found.add(table_keys(batch))
    return found


def _with_deleted(dataset: Any, fragments: Sequence[Any], ledger: Ledger) -> Iterator[pa.RecordBatch]:
    scanner = dataset.scanner(
        columns=["shard", "row"],
        filter=f"`shard` >= {ledger.first_shard} AND `shard` < {ledger.first_shard + ledger.num_shards}",
        fragments=list(fragments),
        with_row_id=True,
        include_deleted_rows=True,
        use_scalar_index=False,
    )
    yield from scanner.to_batches()


def positions_left(ledger: Ledger, shards: Sequence[Shard], rows: int) -> PositionSet:
    """Positions among the first `rows` rows of the manifest that still need work."""
    left = PositionSet()
    for shard in shards:
        number, count = ledger.first_shard + shard.number, min(shard.num_rows, rows - shard.first_row)
        if count > 0:
            undone = np.flatnonzero(~ledger.done(number, count))
            left.add(position_keys(np.full(len(undone), number), undone))
    return left


def ids_at(
    source: Source, shards: Sequence[Shard], first_shard: int, positions: PositionSet
) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """(ids, position keys) of rows, read from the manifest: the tables do not have them any more."""
    source = source.ids_only()
    for shard in shards:
        number = first_shard + shard.number
        item = shard_work(shard, number, positions.mask(number, shard.num_rows))
        for batch in source.read(item, _READ_ROWS) if item else ():
            yield batch[ID.name].combine_chunks(), table_keys(batch)
