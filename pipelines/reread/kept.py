"""Packed images that were read with another one, kept a while: who looks at a row often looks at those beside it."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import pyarrow as pa

from operators.base.columns import URI
from operators.base.errors import UserError
from operators.base.rows import source_rows
from pipelines.ledger.entries import ManifestEntry
from pipelines.reread.packed import PackedRows, owner_of
from pipelines.table.positions import table_keys

_PackedPlace = tuple[str, int, str]
"""Digest of a manifest, position and URI: in a table that was made anew the latter two come again."""
_STRIPES = 64
_MOST_ROWS = 65_536


class KeptRows:
    """One row at a time, as operators read it; up to `most_bytes` of neighbours are kept. Thread-safe; several who ask
    for rows of one place read it once."""

    def __init__(self, packed: PackedRows, most_bytes: int) -> None:
        self._packed, self._most = packed, most_bytes
        self._rows = OrderedDict[_PackedPlace, pa.Table]()
        self._bytes = 0
        self._lock = threading.Lock()
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    def row(self, uri: str, key: int, entries: Sequence[ManifestEntry]) -> pa.Table:
        """The row of an image by URI and position (`shard << 32 | row`)."""
        if "#" not in uri:
            return source_rows([uri])
        owner = owner_of(entries, key >> 32)
        digest = "" if owner is None else entries[owner].digest
        with self._stripes[(key >> 32) % _STRIPES]:
            found = self._kept((digest, key, uri))
            if found is None:
                self._read_around(digest, key, entries)
                found = self._kept((digest, key, uri))
        if found is not None:
            return found
        asked = pa.table({"uri": [uri], "shard": pa.array([key >> 32]), "row": pa.array([key & 0xFFFFFFFF])})
        return next(iter(self._packed.rows(asked, entries)))

    def _kept(self, place: _PackedPlace) -> pa.Table | None:
        with self._lock:
            found = self._rows.get(place)
            if found is not None:
                self._rows.move_to_end(place)
            return found

    def _read_around(self, digest: str, key: int, entries: Sequence[ManifestEntry]) -> None:
        read = 0
        try:
            for batch in self._packed.around(key, entries):
                for number in range(batch.num_rows):
                    self._keep(digest, batch, number)
                read += batch.nbytes
                if read > self._most // 2:
                    return
        except (UserError, OSError, pa.ArrowException):
            # Asked for alone, the row says why.
            return

    def _keep(self, digest: str, batch: pa.Table, number: int) -> None:
        # A slice would keep its whole batch.
        row = batch.take([number]).combine_chunks()
        at = digest, int(table_keys(row)[0]), row[URI.name][0].as_py()
        with self._lock:
            self._bytes += row.nbytes - (self._rows.pop(at).nbytes if at in self._rows else 0)
            self._rows[at] = row
            while self._rows and (self._bytes > self._most or len(self._rows) > _MOST_ROWS):
                self._bytes -= self._rows.popitem(last=False)[1].nbytes
