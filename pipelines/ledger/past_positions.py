"""Which positions of a manifest have ever been dealt with, noted in files: what was in the tables, not what is.

The tables say what is there, and nothing of a row that another tool has deleted: it looks like one that was never
embedded. So each wave is noted after it is committed. A kill between the two loses the note alone: the rows are in the
tables, and the next run notes them. Each run writes files of its own, so a stale driver can only add what it really
committed. A note carries the revision that the manifest's entry had: a note ahead of the entry tells that both tables
were taken back to an earlier version.
"""

import io
from collections.abc import Iterable

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import BaseError

from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, object_store
from pipelines.table.positions import PositionSet

_BUCKET_SHARDS = 256
"""Shards in one file, which is written whole at each wave that touches it: 8 MB at most before compression, where
every second row of shards of 262,144 is left out; some kB where all of a shard or none of it is done."""
_SCHEMA = pa.schema([("shard", pa.int32()), ("bits", pa.binary())])


class PastPositions:
    """Positions of one registered manifest that were committed, or kept out as taken down, at some time."""

    def __init__(self, folder: str, run_id: str, revision: int, storage: StorageOptions) -> None:
        """Read what earlier runs noted. `folder` is the manifest's own, `revision` that of its entry. Raises
        `OSError`."""
        self.positions = PositionSet()
        self.latest = -1
        """The highest revision under which another run noted anything; -1 for none."""
        self.known = False
        """Whether anything was noted: false for a manifest that only earlier versions of Pixlake worked on."""
        self._folder = folder.rstrip("/")
        self._run_id = run_id
        self._revision = revision
        self._storage = storage
        try:
            self._read()
        except BaseError as error:
            raise OSError(f"{folder}: cannot be read: {reason_of(error)}") from None

    def _read(self) -> None:
        store, _ = object_store(self._folder, self._storage)
        for path in self._paths():
            data = bytes(obstore.get(store, path).bytes())
            for row in pq.read_table(io.BytesIO(data)).to_pylist():
                self.positions.add_packed(row["shard"], row["bits"])
            revision, run_id = path.rpartition("/")[2].split("-", 1)
            if run_id.rpartition("-")[0] != self._run_id:
                self.latest = max(self.latest, int(revision))
            self.known = True

    def drop(self) -> None:
        """Forget all notes: rows that are not in the tables were not deleted, but lost with a version."""
        store, _ = object_store(self._folder, self._storage)
        paths = self._paths()
        if paths:
            obstore.delete(store, paths)
        self.positions, self.known, self.latest = PositionSet(), False, -1

    def add(self, keys: np.ndarray) -> None:
        """Note positions that have just been committed. Raises `OSError` where the note cannot be written."""
        if len(keys):
            self.positions.add(keys)
            self._write(np.unique(keys >> 32))

    def add_all(self, held: PositionSet) -> None:
        """Note positions in the tables that are not noted yet: the wave before a kill, or all that an earlier version
        committed. Afterwards `known` is true, even where there was nothing to note."""
        new = held.minus(self.positions)
        if new.count or not self.known:
            self.positions = self.positions.union(new)
            self._write(new.shards or [0])

    def _paths(self) -> list[str]:
        store, prefix = object_store(self._folder, self._storage)
        paths = [meta["path"] for page in obstore.list(store, prefix or None) for meta in page]
        return sorted(path for path in paths if path.endswith(".parquet"))

    def _write(self, shards: Iterable[int]) -> None:
        store, prefix = object_store(self._folder, self._storage)
        for bucket in sorted({int(shard) // _BUCKET_SHARDS for shard in shards}):
            inside = [shard for shard in self.positions.shards if shard // _BUCKET_SHARDS == bucket]
            columns = [pa.array(inside, pa.int32()), pa.array(map(self.positions.packed, inside), pa.binary())]
            sink = io.BytesIO()
            pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="zstd", use_dictionary=False)
            try:
                obstore.put(store, f"{prefix}/{self._revision}-{self._run_id}-{bucket}.parquet", sink.getvalue())
            except BaseError as error:
                raise OSError(f"{self._folder}: cannot write: {reason_of(error)}") from None
        self.known = True
