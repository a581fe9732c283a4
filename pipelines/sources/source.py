"""A manifest as workers read it: shards of rows, in tasks, without the rows that are left out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import pyarrow as pa

from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.ledger.skip_ids import SkipIds
from pipelines.manifests.manifest import Columns
from pipelines.sources.shard_rows import ReadMeter, read_shard, source_schema
from pipelines.sources.work import PIECE_BYTES, ShardWork, epochs, split_large

READ_ROWS = 65_536
"""A read task covers consecutive shards of up to so many rows together, so that the rest of many shards, or many small
ones, still makes full blocks. A larger shard is a task of its own."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Reads shards on workers. A few hundred bytes of plain data beside the ids: one goes into every read task."""

    columns: Columns
    storage: StorageOptions = NO_OPTIONS
    skip_ids: SkipIds | None = None
    """Ids that the table has through other manifests."""
    taken_down: SkipIds | None = None
    """Ids that no run may bring in again."""
    halted: Callable[[], bool] | None = None
    """Tells whether the run is ending. Once it is, nothing further is read. Pickled to the workers."""

    def schema(self) -> pa.Schema:
        return source_schema(self.columns)

    def read_tasks(self, work: Sequence[ShardWork]) -> list[list[ShardWork]]:
        """The work of each task on a cluster; the rows of one task are in memory together. Those of a huge row group
        are several tasks."""
        return list(epochs(split_large(work), READ_ROWS, PIECE_BYTES))

    def read(self, work: ShardWork, rows_per_batch: int) -> Iterator[pa.Table]:
        """The wanted rows of one shard; see `read_shard`. Ends early once `halted`."""
        return self._read(self.columns, work, rows_per_batch)

    def ids_only(self) -> "Source":
        """The same rows without what is large or only kept, for those who want the ids alone."""
        lean = replace(self.columns, kept=(), renamed=(), image=None, packed=False)
        return Source(columns=lean, storage=self.storage)

    def _read(
        self, columns: Columns, work: ShardWork, rows_per_batch: int, meter: ReadMeter | None = None
    ) -> Iterator[pa.Table]:
        batches = read_shard(
            columns,
            work.shard,
            shard_number=work.shard_number,
            wanted=work.wanted(),
            storage=self.storage,
            skip_ids=self.skip_ids,
            taken_down=self.taken_down,
            rows_per_batch=rows_per_batch,
            meter=meter,
        )
        halted = self.halted
        return batches if halted is None else takewhile(lambda _: not halted(), batches)
