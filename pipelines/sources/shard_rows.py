"""The rows of one shard, streamed on a worker: position, id, absolute URI, kept columns, and errors found so far."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from operators.base.columns import (
    ASKED_BY,
    ERROR_FIELDS,
    ID,
    KNOWN_SHA256,
    PACKED_IN,
    POSITION_FIELDS,
    SOURCE_SCHEMA,
    SOURCE_VERSION,
)
from operators.base.errors import SKIPPED_EXISTING, TAKEN_DOWN, ErrorClass, clean_message
from operators.storage.redact import redact_uri, redact_value
from operators.storage.stores import StorageOptions, filesystem
from pipelines.ledger.skip_ids import SkipIds
from pipelines.manifests.columns.hive import hive_values
from pipelines.manifests.columns.ids import id_texts
from pipelines.manifests.files import file_info
from pipelines.manifests.kept_types import is_text, to_text
from pipelines.manifests.manifest import Columns, Shard, SourceError
from pipelines.manifests.parquet import DAMAGE, is_damage
from pipelines.manifests.parts import ERROR_FIELD
from pipelines.manifests.uris import parent_folder, resolve_uris

STAGE = "source"
"""The `error_stage` of rows that fail here."""
_BUFFER_BYTES = 4 << 20
_BATCH_BYTES = 8 << 20
"""Of the used columns: to make a batch, pyarrow holds four times as much."""
_MEASURED_GROUPS = 4


class ReadMeter:
    """Counts the reads of a file whose columns are large, and makes them large too."""

    buffer_bytes = 32 << 20
    """Bytes of one column that are asked for at a time: 0.0015 requests for an image of 50 KB."""

    def __init__(self) -> None:
        self._reads = 0

    def metered(self, stream: Any) -> Any:
        """The stream, its reads counted."""
        return _MeteredStream(stream, self)

    def count(self) -> None:
        self._reads += 1

    def taken(self) -> int:
        """Reads since this was last asked."""
        taken, self._reads = self._reads, 0
        return taken


class _MeteredStream:
    def __init__(self, stream: Any, meter: ReadMeter) -> None:
        self._stream = stream
        self._meter = meter

    def read(self, size: int = -1) -> bytes:
        self._meter.count()
        data: bytes = self._stream.read(size)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def source_schema(columns: Columns) -> pa.Schema:
    """`SOURCE_SCHEMA` with the kept columns, and those that operators read, between `uri` and the error columns."""
    first = len(POSITION_FIELDS) + 2
    return pa.schema([*list(SOURCE_SCHEMA)[:first], *columns.kept, *_beside(columns), *ERROR_FIELDS])


def _beside(columns: Columns) -> tuple[pa.Field, ...]:
    """Columns that are read for operators, by the same names in the files."""
    packed = (PACKED_IN,) if columns.packed else ()
    return (*packed, KNOWN_SHA256, ASKED_BY, SOURCE_VERSION) if columns.compared else packed


def read_shard(
    columns: Columns,
    shard: Shard,
    *,
    shard_number: int,
    wanted: np.ndarray | None,
    storage: StorageOptions,
    skip_ids: SkipIds | None = None,
    taken_down: SkipIds | None = None,
    rows_per_batch: int = 8192,
    meter: ReadMeter | None = None,
) -> Iterator[pa.Table]:
    """Tables of `source_schema` with at most `rows_per_batch` rows, in row order; holds one batch and one column page.

    `wanted` is boolean (shard.num_rows,), None for all rows. A bad row comes with null `uri` and its error columns
    filled; a row whose id is in `skip_ids` has `error_class` `skipped_existing`; one whose id is in `taken_down` has
    `taken_down`, whatever else is wrong with it. Raises `SourceError` where the file is not the one that was opened.
    """
    if wanted is not None and wanted.shape != (shard.num_rows,):
        raise ValueError(f"wanted has shape {wanted.shape}, the shard {shard.num_rows} rows")
    first = 0
    for batch in read_batches(columns, shard, wanted, storage, rows_per_batch, meter):
        rows = np.arange(first, first + batch.num_rows, dtype=np.int32)
        first += batch.num_rows
        if wanted is not None:
            mask = wanted[rows[0] : first]
            if not mask.any():
                continue
            rows, batch = rows[mask], batch.filter(pa.array(mask))
        yield _source_table(batch, rows, columns, shard, shard_number, skip_ids, taken_down)


def read_batches(
    columns: Columns,
    shard: Shard,
    wanted: np.ndarray | None,
    storage: StorageOptions,
    rows_per_batch: int,
    meter: ReadMeter | None = None,
) -> Iterator[pa.RecordBatch]:
    """Non-empty batches that cover the shard up to the last wanted row; what lies behind it is not read."""
    _check_version(shard, storage)
    files, path = filesystem(shard.path, storage)
    kept = [name for name in map(columns.in_files, columns.kept_names) if name not in columns.in_path]
    names = [columns.uri, columns.id, *kept, ERROR_FIELD.name if columns.resolved else None]
    names += [field.name for field in _beside(columns)]
    last = shard.num_rows if wanted is None else int(np.flatnonzero(wanted).max(initial=-1)) + 1
    done = 0
    # A buffered stream and no pre-buffering: a row group of 50 million rows is read page by page, not at once.
    # No fsspec cache: columns are read in turns, and its read-ahead would fetch the bytes between them again and again.
    # The web keeps it: a server without range requests can only be read whole.
    cache = "readahead" if "://" in path else "none"
    buffer_bytes = _BUFFER_BYTES if meter is None else meter.buffer_bytes
    with (
        files.open(path, "rb", cache_type=cache) as opened,
        pq.ParquetFile(
            opened if meter is None else meter.metered(opened), buffer_size=buffer_bytes, pre_buffer=False
        ) as file,
    ):
        schema = file.schema_arrow
        wished = sorted({name for name in names if name is not None})
        batch_rows = _fitting(file.metadata, shard.row_groups, wished, rows_per_batch)
        for groups in _together(list(shard.row_groups), [schema.field(name).type for name in wished]):
            batches = file.iter_batches(batch_size=batch_rows, row_groups=groups, columns=wished, use_threads=False)
            while (batch := _next_batch(batches, shard, done)) is not None:
                if done >= last:
                    return
                done += batch.num_rows
                if batch.num_rows:
                    yield batch
    if done != shard.num_rows:
        raise SourceError(f"{redact_uri(shard.path)}: {done} rows where {shard.num_rows} were counted; run again")


def _fitting(metadata: pq.FileMetaData, row_groups: range, names: Sequence[str], rows: int) -> int:
    """So many rows that a batch has `_BATCH_BYTES`, `rows` at most, by the first row groups: texts may be long."""
    size, count = 0, 0
    for group in (metadata.row_group(index) for index in row_groups[:_MEASURED_GROUPS]):
        columns = (group.column(at) for at in range(group.num_columns))
        size += sum(each.total_uncompressed_size for each in columns if each.path_in_schema.split(".")[0] in names)
        count += group.num_rows
    return max(1, min(rows, _BATCH_BYTES * count // max(size, 1)))


def _next_batch(batches: Iterator[pa.RecordBatch], shard: Shard, done: int) -> pa.RecordBatch | None:
    """Raises `SourceError` where the file is damaged there."""
    try:
        return next(batches, None)
    except DAMAGE as error:
        if not is_damage(error):
            raise
        raise SourceError(
            f"{redact_uri(shard.path)}: damaged, at row {shard.file_row + done} or not far behind it "
            f"({clean_message(str(error))}); write the file again, and start the run again"
        ) from error


def _together(row_groups: list[int], kinds: Sequence[pa.DataType]) -> list[list[int]]:
    """Groups of row groups that one batch may span. pyarrow cannot make a batch of two dictionaries below a list or a
    struct ("Nested data conversions not implemented for chunked array outputs"), and each row group has its own."""
    nested = any(not pa.types.is_dictionary(kind) and _holds_dictionary(kind) for kind in kinds)
    return [[group] for group in row_groups] if nested else [row_groups]


def _holds_dictionary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    return any(_holds_dictionary(kind.field(at).type) for at in range(kind.num_fields))


def _check_version(shard: Shard, storage: StorageOptions) -> None:
    if shard.version is not None and file_info(shard.path, storage).version != shard.version:
        raise SourceError(
            f"{redact_uri(shard.path)} was replaced while the run was reading it; positions in it no longer hold. "
            "Put the old file back, or start the run again"
        )


def _source_table(
    batch: pa.RecordBatch,
    rows: np.ndarray,
    columns: Columns,
    shard: Shard,
    shard_number: int,
    skip_ids: SkipIds | None,
    taken_down: SkipIds | None,
) -> pa.Table:
    count = len(rows)
    uris, reasons = _uris(batch, rows, columns, shard)
    ids, uris, no_ids = _ids(batch, columns, uris)
    errors = _errors(batch, rows, columns, shard, reasons | no_ids)
    bad = pc.is_valid(errors).to_numpy(zero_copy_only=False)
    skipped = ~bad & skip_ids.contains(ids) if skip_ids is not None else np.zeros(count, bool)
    kept_out = taken_down.contains(ids) if taken_down is not None else np.zeros(count, bool)
    arrays = [
        pa.array(np.full(count, shard_number, np.int32)),
        pa.array(rows),
        pa.array(ids, ID.type),
        uris,
        *(_kept_column(batch, field, columns, shard) for field in columns.kept),
        *(batch[field.name] for field in _beside(columns)),
        _where(kept_out | bad | skipped, STAGE, pa.string()),
        pc.coalesce(
            _where(kept_out, TAKEN_DOWN, pa.string()),
            _where(bad, str(ErrorClass.BAD_URI), pa.string()),
            _where(skipped, SKIPPED_EXISTING, pa.string()),
        ),
        errors,
        pa.nulls(count, pa.int16()),
        _where(bad, 0, pa.int16()),
    ]
    return pa.Table.from_arrays(arrays, schema=source_schema(columns))


def _where(mask: np.ndarray, value: object, kind: pa.DataType) -> pa.Array:
    """`value` where the mask is true, null elsewhere."""
    return pc.if_else(pa.array(mask), pa.scalar(value, kind), pa.scalar(None, kind))


def _uris(batch: pa.RecordBatch, rows: np.ndarray, columns: Columns, shard: Shard) -> tuple[pa.Array, dict[int, str]]:
    """(absolute URIs, null where there is none; index of such a row -> the reason, where the file does not say it)."""
    if columns.resolved:
        return batch[columns.uri], {}
    if columns.uri is None:
        numbers = pa.array(rows.astype(np.int64) + shard.file_row).cast(pa.string())
        return pc.binary_join_element_wise(f"{shard.path}#", numbers, ""), {}
    texts, broken = to_text(_cast(batch[columns.uri], pa.string()))
    uris, reasons = resolve_uris(texts, parent_folder(shard.path))
    return _without(uris, broken), reasons | dict.fromkeys(broken, "URI is not valid UTF-8")


def _errors(
    batch: pa.RecordBatch, rows: np.ndarray, columns: Columns, shard: Shard, reasons: Mapping[int, str]
) -> pa.Array:
    """Why a row has no URI, as text with its place; null for a good row."""
    if columns.resolved:
        return batch[ERROR_FIELD.name]
    if not reasons:
        return pa.nulls(len(rows), pa.string())
    name, errors = redact_uri(shard.path), np.full(len(rows), None, object)
    for index, reason in reasons.items():
        where = f"{name}: row {rows[index]} of row groups {shard.row_groups.start} to {shard.row_groups.stop - 1}"
        errors[index] = clean_message(f"{where}: {reason}")
    return pa.array(errors, pa.string())


def _ids(
    batch: pa.RecordBatch, columns: Columns, uris: pa.Array
) -> tuple[Sequence[str | None], pa.Array, dict[int, str]]:
    """(the id column as text, of URIs without their secrets; where it is absent or null, xxh3-128 of the URI without
    its signature, in hex; the URIs of rows whose id is good; the reasons for the others)."""
    given, broken = pa.nulls(len(uris), pa.string()), list[int]()
    if columns.id is not None and batch[columns.id].null_count < len(uris):
        given, broken = id_texts(batch[columns.id])
        given = _redacted(given)
    given, uris = _without(given, broken), _without(uris, broken)
    ids = [
        uri_id(uri) if text is None and uri is not None else text
        for text, uri in zip(given.to_pylist(), uris.to_pylist(), strict=True)
    ]
    return ids, uris, dict.fromkeys(broken, f"id_column {columns.id!r} holds text that is not valid UTF-8")


def _without(array: pa.Array, rows: list[int]) -> pa.Array:
    """The array with nulls in these rows."""
    return pc.if_else(pc.is_in(pa.array(range(len(array))), pa.array(rows)), None, array) if rows else array


def uri_id(uri: str) -> str:
    """xxh3-128 of the URI in hex; of a web address without its signature: one that is signed again keeps its id. In
    buckets and on disk a `?` is part of a name, and `a?code=1.jpg` is not `a?code=2.jpg`."""
    if uri[:8].lower().startswith(("http://", "https://")):
        uri = redact_uri(uri)
    return xxhash.xxh3_128_hexdigest(uri.encode())


def _kept_column(batch: pa.RecordBatch, field: pa.Field, columns: Columns, shard: Shard) -> pa.Array:
    name = columns.in_files(field.name)
    if name in columns.in_path:
        return pa.array([hive_values(shard.path)[name]] * batch.num_rows, field.type)
    return _kept(batch[name], field.type)


def _kept(array: pa.Array, kind: pa.DataType) -> pa.Array:
    array = _cast(array, kind)
    return _redacted(to_text(array)[0]) if kind == pa.string() else array


def _redacted(texts: pa.Array) -> pa.Array:
    """Text as a row may keep it: without the secrets of URIs."""
    if not pc.any(pc.match_substring(texts, "://")).as_py():
        return texts
    return pa.array([None if text is None else redact_value(text) for text in texts.to_pylist()], pa.string())


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The array as the type that all files of the manifest have in common; text is left as it is. An array without
    values may have had any type."""
    if array.type == kind or (kind == pa.string() and is_text(array.type)):
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), kind)
    return (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array).cast(kind)
