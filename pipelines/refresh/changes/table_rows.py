"""What a table holds of one source, streamed: an image a row of the vector table, and the failures."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import DELETED_AT, ERROR, ERROR_CLASS, ETAG, ID, REGION, ROW, SHA256, SHARD, SIZE_BYTES, URI
from pipelines.commits.sink import FAILED_VERSION
from pipelines.ledger.entries import ManifestEntry
from pipelines.refresh.changes.changes import VERSION
from pipelines.refresh.changes.source import SourceState
from pipelines.refresh.changes.source_rows import KEY, keys_of
from pipelines.refresh.changes.versions import plain_etags, version_texts
from pipelines.scan.plain import plain_scan
from pipelines.space.choose import not_in_swap
from pipelines.space.field import read_reductions, vector_columns
from pipelines.table.errors import RefusedError
from pipelines.table.layout import layout_of
from pipelines.table.positions import table_keys
from pipelines.table.table import Table

_INDEX = f"{REGION.name}.index"
_BATCH_ROWS, _TAKEN_ROWS = 65_536, 8_192
_TO_TELL = (ID, URI, ETAG, SIZE_BYTES, SHA256, SHARD, ROW)
_TO_TELL_FAILURES = (ID, URI, ERROR_CLASS, ERROR, SHARD, ROW)

MARKED = DELETED_AT.with_name("row.deleted_at")
"""A kept column of a manifest may be called as the table's own is."""
FAILURE_ROWS = pa.schema([KEY, ID, URI, ERROR_CLASS, ERROR, VERSION, SHARD, ROW])


class Shards:
    """The shards that belong to one source."""

    def __init__(self, entries: Iterable[ManifestEntry], source: str) -> None:
        ranges = sorted((e.first_shard, e.first_shard + e.num_shards) for e in entries if e.source == source)
        self._first = np.array([first for first, _ in ranges], np.int64)
        self._end = np.array([end for _, end in ranges], np.int64)

    def __len__(self) -> int:
        return len(self._first)

    def hold(self, shards: np.ndarray) -> np.ndarray:
        """(N,) bool."""
        at = np.searchsorted(self._first, shards, "right") - 1
        found: np.ndarray = (at >= 0) & (shards < self._end[np.maximum(at, 0)])
        return found

    @property
    def where(self) -> str:
        """SQL that holds for all of them, and perhaps for others between."""
        return f"`{SHARD.name}` >= {self._first[0]} AND `{SHARD.name}` < {self._end.max()}"


def check_columns(table: Table, vectors: pa.Schema, failures: pa.Schema) -> None:
    """Raises `RefusedError` where another tool has dropped or renamed a column that tells images."""
    for uri, schema, needed in (
        (table.uri, vectors, _TO_TELL),
        (table.names.failures, failures, _TO_TELL_FAILURES),
    ):
        lacking = [field.name for field in needed if field.name not in schema.names]
        if lacking:
            raise RefusedError(
                f"{uri}: not there is {', '.join(lacking)}, by which a refresh tells images: another tool has dropped "
                "or renamed it. Give it its name back; what was dropped comes back with a restore of an earlier version"
            )


def comparable(schema: pa.Schema, state: SourceState) -> list[pa.Field]:
    """The source's kept columns that the vector table has; the state has them in its types."""
    return [field for field in state.kept if field.name in schema.names]


def vector_rows_schema(kept: Iterable[pa.Field]) -> pa.Schema:
    """Columns of the images of a vector table; the kept ones that it has of the source's."""
    return pa.schema([KEY, *_TO_TELL, MARKED, VERSION, *kept])


def vector_rows(dataset: Any, shards: Shards, state: SourceState, unfilled: Sequence[str] = ()) -> Iterator[pa.Table]:
    """The images, streamed in any order. One with a row per region comes once for each run of its rows, which mostly
    lie together. Rows without an id, which another tool has written, are left out. Of images that lack a vector since a
    swap, which are those that were marked then and those that lack one of the columns `unfilled`, nothing is said that
    could be equal: when they are there, they are embedded whatever their bytes are."""
    there = comparable(dataset.schema, state)
    schema = vector_rows_schema(there)
    columns = [field.name for field in (*_TO_TELL, *there)]
    columns += [n for n in state.version_columns or () if n in dataset.schema.names and n not in columns]
    marks = _has_marks(dataset.schema, state)
    columns += [DELETED_AT.name] if marks else []
    if layout_of(dataset.schema) == "rows":
        columns.append(_INDEX)
    bare = np.concatenate([np.zeros(0, np.int64), *_without_vector(dataset, shards, marks, unfilled)])
    for batch in _of_source(dataset, columns, shards):
        rows = _one_an_image(batch) if _INDEX in columns else batch
        rows = rows.filter(rows[ID.name].is_valid())
        versions = _versions(rows, state)
        if len(bare):
            unknown = pa.array(np.isin(table_keys(rows), bare))
            versions = _blank(versions, unknown)
            for field in (ETAG, SHA256):
                rows = rows.set_column(
                    rows.schema.get_field_index(field.name), field, _blank(rows[field.name], unknown)
                )
        marked = rows[DELETED_AT.name] if marks else pa.nulls(rows.num_rows, MARKED.type)
        made = {KEY.name: rows[ID.name], VERSION.name: versions, MARKED.name: marked}
        arrays = [made[field.name] if field.name in made else _as(rows[field.name], field.type) for field in schema]
        yield pa.Table.from_arrays(arrays, schema=schema)


def _has_marks(schema: pa.Schema, state: SourceState) -> bool:
    theirs = any(field.name == DELETED_AT.name for field in state.kept)
    return not theirs and DELETED_AT.name in schema.names and schema.field(DELETED_AT.name).type == DELETED_AT.type


def _without_vector(dataset: Any, shards: Shards, marks: bool, unfilled: Sequence[str]) -> Iterator[np.ndarray]:
    """Position keys of images that are marked as deleted and lack a vector of a column that searches use, since a swap
    fills none of those; and of all that lack one of the columns `unfilled`."""
    schema, place = dataset.schema, [SHARD.name, ROW.name]
    lacking = " OR ".join(f"`{name}` IS NULL" for name in unfilled if name in schema.names)
    if lacking:
        for batch in plain_scan(dataset, place, f"{shards.where} AND ({lacking})", in_order=False):
            yield table_keys(batch)
    if not marks:
        return
    derived = read_reductions(schema)
    columns = [name for name in not_in_swap(vector_columns(schema)) if name not in derived]
    where = f"{shards.where} AND `{DELETED_AT.name}` IS NOT NULL"
    for batch in plain_scan(dataset, [*place, *columns], where, in_order=False, batch_size=_TAKEN_ROWS):
        lacks = np.zeros(batch.num_rows, bool)
        for name in columns:
            lacks |= batch[name].is_null().to_numpy(zero_copy_only=False)
        yield table_keys(batch)[lacks]


def _blank(texts: pa.Array, where: pa.Array) -> pa.Array:
    return pc.if_else(where, pa.scalar(None, texts.type), texts)


def failure_rows(dataset: Any, shards: Shards) -> Iterator[pa.Table]:
    """The failures, streamed in any order."""
    versioned = FAILED_VERSION.name in dataset.schema.names
    columns = [field.name for field in _TO_TELL_FAILURES]
    for batch in _of_source(dataset, [*columns, *([FAILED_VERSION.name] if versioned else [])], shards):
        arrays = [
            keys_of(batch),
            batch[ID.name],
            batch[URI.name],
            batch["error_class"],
            batch[ERROR.name],
            batch[FAILED_VERSION.name] if versioned else pa.nulls(batch.num_rows, VERSION.type),
            batch[SHARD.name],
            batch[ROW.name],
        ]
        yield pa.Table.from_arrays(arrays, schema=FAILURE_ROWS)


def _of_source(dataset: Any, columns: list[str], shards: Shards) -> Iterator[pa.RecordBatch]:
    for batch in plain_scan(dataset, columns, shards.where, in_order=False, batch_size=_BATCH_ROWS):
        mine = shards.hold(batch[SHARD.name].to_numpy())
        yield batch if mine.all() else batch.filter(pa.array(mine))


def _one_an_image(batch: pa.RecordBatch) -> pa.RecordBatch:
    keys = table_keys(batch)
    return batch.filter(pa.array(np.diff(keys, prepend=-1) != 0)) if len(keys) else batch


def _versions(rows: pa.RecordBatch, state: SourceState) -> pa.Array:
    if state.version_columns is None:
        return plain_etags(rows[ETAG.name])
    if not all(name in rows.schema.names for name in state.version_columns):
        return pa.nulls(rows.num_rows, VERSION.type)
    return version_texts(rows, state.version_columns)


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)
