"""What is written again of rows whose vectors stay: the values that the source has for them now."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import DELETED_AT, ID, POSITION_FIELDS, SHA256, URI
from operators.storage.redact import redact_uri
from pipelines.carry.carry import FROM_KEY, TO_KEY
from pipelines.refresh.changes.changes import OLD_IN, OLD_SHA256, STATE, Changes
from pipelines.refresh.changes.source import as_there
from pipelines.refresh.delta import old_positions

WAVE_ROWS = 1 << 16
"""Images of one commit."""
MOST_TAKEABLE = 1_000_000
"""Images gone from the source whose digests every worker is sent, 32 bytes each, to know them under a new key."""


def waves(batches: Iterable[pa.RecordBatch], rows: int = WAVE_ROWS) -> Iterator[pa.Table]:
    """The rows in tables of about `rows`."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(each.num_rows for each in held) >= rows:
            yield pa.Table.from_batches(held)
            held = []
    if sum(each.num_rows for each in held):
        yield pa.Table.from_batches(held)


def source_values(rows: pa.Table, kept: Sequence[pa.Field], schema: pa.Schema) -> pa.Table:
    """Values for images that the source has, of rows of `Changes`: id, URI and the kept columns that the table, of this
    schema, has; no longer marked as deleted. Raises `RefusedError` where values do not fit the table's column."""
    keys = old_positions(rows)
    named = [field.name for field in kept if field.name in schema.names]
    uris = pa.array([redact_uri(uri) for uri in rows[URI.name].to_pylist()], URI.type)
    values = pa.table({FROM_KEY: keys, TO_KEY: keys, ID.name: rows[ID.name], URI.name: uris})
    for name in named:
        values = values.append_column(name, as_there(rows[name], schema.field(name)))
    return not_deleted(values, schema)


def fetched_values(rows: pa.Table, source: np.ndarray, target: np.ndarray, schema: pa.Schema) -> pa.Table:
    """The same for images that were fetched and have known bytes, of the rows of a receipt (`same_rows`)."""
    values = rows.drop_columns([field.name for field in POSITION_FIELDS])
    values = values.append_column(FROM_KEY, pa.array(source)).append_column(TO_KEY, pa.array(target))
    return not_deleted(values, schema)


def not_deleted(values: pa.Table, schema: pa.Schema) -> pa.Table:
    """The values with an empty mark, where the table has the column."""
    if DELETED_AT.name not in schema.names:
        return values
    return values.append_column(DELETED_AT, pa.nulls(values.num_rows, DELETED_AT.type))


def marked(keys: np.ndarray, now: datetime) -> pa.Table:
    """Values for images that are gone from the source."""
    times = pa.array([now] * len(keys), DELETED_AT.type)
    return pa.table({FROM_KEY: keys, TO_KEY: keys, DELETED_AT.name: times})


class Takeable:
    """Images that are gone from the source, by the digests of their bytes: a new key with such bytes takes their
    vectors over. At most `MOST_TAKEABLE`; of more, none is known so."""

    def __init__(self, changes: Changes) -> None:
        self._keys: dict[str, int] = {}
        self._gone: set[int] = set()
        self.taken: set[int] = set()
        """Position keys whose rows have gone to a new key."""
        if changes.counts["deleted"] + changes.counts["gone"] > MOST_TAKEABLE:
            return
        for batch in changes.rows("deleted", "gone"):
            usable = pc.and_(pc.equal(batch[OLD_IN.name], "vectors"), pc.is_valid(batch[OLD_SHA256.name]))
            rows = batch.filter(usable)
            keys = old_positions(rows).tolist()
            self._keys.update(zip(rows[OLD_SHA256.name].to_pylist(), keys, strict=True))
            states = rows[STATE.name].to_pylist()
            self._gone.update(key for key, state in zip(keys, states, strict=True) if state == "gone")

    @property
    def taken_deleted(self) -> int:
        """How many of `taken` were not marked as deleted before."""
        return len(self.taken - self._gone)

    @property
    def digests(self) -> bytes:
        """As `CompareConfig.moved` takes them."""
        return b"".join(sorted(bytes.fromhex(digest) for digest in self._keys))

    def take(self, rows: pa.Table, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(from, to) for images with such bytes at new `positions`: the first takes the rows over where they stand,
        each further one gets a copy at its own position."""
        source = np.array([self._keys[digest] for digest in rows[SHA256.name].to_pylist()], np.int64)
        target = positions.copy()
        for at, key in enumerate(source.tolist()):
            if key not in self.taken:
                self.taken.add(key)
                target[at] = key
        return source, target
