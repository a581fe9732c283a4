"""What a worker writes: uncommitted fragments of the vector table and the failures table, and the receipt for them."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lance.fragment import FragmentMetadata, write_fragments

from operators.base.columns import (
    ERROR,
    ERROR_ATTEMPTS,
    ERROR_CLASS,
    ERROR_HTTP_STATUS,
    ERROR_STAGE,
    ETAG,
    FETCH_FIELDS,
    ID,
    IMAGE_FIELDS,
    POSITION_FIELDS,
    REGION,
    REGION_ID,
    REGIONS,
    REQUESTS,
    REUSED,
    SECONDS_PREFIX,
    SIZE_BYTES,
    SOURCE_VERSION,
    URI,
)
from operators.base.errors import (
    LASTING,
    NEEDS_EXTRA,
    NOT_ATTEMPTED,
    SAME_BYTES,
    SKIPPED_EXISTING,
    TAKEN_DOWN,
    ErrorClass,
)
from operators.base.failpoints import failpoint
from operators.base.rows import set_column
from operators.storage.redact import redact_uri
from operators.storage.stores import NO_OPTIONS, StorageOptions, lance_options
from pipelines.commits.receipts import Receipt, rows_to_bytes
from pipelines.space.field import vector_columns
from pipelines.space.labelling import read_labellings
from pipelines.table.errors import TableGoneError
from pipelines.table.fenced_table import FILE_FORMAT
from pipelines.table.landing import check_landing, check_nulls
from pipelines.table.layout import Layout, check_regions, explode_regions, layout_of
from pipelines.table.names import TableNames
from pipelines.table.positions import describe_keys, pack_runs, table_keys
from pipelines.table.table import open_dataset

_FAILURE_COLUMNS = {
    "stage": ERROR_STAGE,
    "error_class": ERROR_CLASS,
    "error": ERROR,
    "http_status": ERROR_HTTP_STATUS,
    "attempts": ERROR_ATTEMPTS,
}
"""Column of the failures table -> column of the batch."""

_EXTRA = re.escape(NEEDS_EXTRA).replace(re.escape("{}"), r"(?P<extra>\w+)") + "$"

FAILED_VERSION = pa.field("source_version", pa.string())
"""The version of the image that failed: what the source says of it, else the etag of what was fetched; null where
neither is known. Tables of earlier releases get the column when they are next opened to be written."""

FAILURES_SCHEMA = pa.schema(
    [ID, URI, *(f.with_name(name) for name, f in _FAILURE_COLUMNS.items()), FAILED_VERSION, *POSITION_FIELDS]
)


_QUOTED = r'^(?:W/)?"?(.*?)"?$'
"""An etag as servers write it: listings give it without quotes and without the mark of a weak one."""


def vectors_schema(
    vectors: Sequence[pa.Field], kept: Sequence[pa.Field] = (), layout: Layout | None = None
) -> pa.Schema:
    """The vector table's schema: vector fields, each carrying its space, and the manifest columns to keep.

    With a `layout` the vector fields are lists, a vector for each of an image's regions; in layout `rows` each gets a
    row of its own.
    """
    regions: Sequence[pa.Field] = ()
    if layout == "rows":
        vectors = [field.with_type(field.type.value_type) for field in vectors]
        regions = (REGION_ID, REGION)
    elif layout == "multivector":
        regions = (REGIONS,)
    return pa.schema([ID, URI, *regions, *vectors, *IMAGE_FIELDS, *FETCH_FIELDS, *kept, *POSITION_FIELDS])


@dataclass(frozen=True, kw_only=True)
class Sink:
    """Where results go. Declared on the driver, pickled to the workers; both tables must exist before a write."""

    names: TableNames
    vectors_schema: pa.Schema
    failures_schema: pa.Schema = FAILURES_SCHEMA
    storage: StorageOptions = NO_OPTIONS

    def write(self, batch: pa.Table) -> Receipt:
        """Write one batch and commit nothing: readers see none of it, and a repeated call leaves only orphans behind.

        The batch has a row per image. All that is written of an image, also where each region has a row, is in one
        receipt. Rows without an error class go to the vector table, rows with one to the failures table; skipped ones,
        those that are taken down, those that were not attempted and those whose vectors are there go nowhere. Raises
        `ValueError` for a batch that is not what the schemas say, `SchemaChangedError` where the tables have other
        columns by now, `RefusedError` for nulls where a column was altered to take none, `OSError` where the storage
        fails.
        """
        failpoint("write.before")
        started = time.monotonic()
        keys = table_keys(batch)
        _check_distinct(keys)
        classes = batch[ERROR_CLASS.name].combine_chunks()
        good = pc.is_null(classes).to_numpy(zero_copy_only=False)
        skipped, kept_out, undone = (_are(classes, each) for each in (SKIPPED_EXISTING, TAKEN_DOWN, NOT_ATTEMPTED))
        same = _are(classes, SAME_BYTES)
        failed = ~good & ~skipped & ~kept_out & ~undone & ~same
        lasting = pc.is_in(classes, value_set=pa.array(sorted(LASTING))).to_numpy(zero_copy_only=False)
        vectors = self._write_table(
            self.names.vectors, _vector_rows(batch.filter(pa.array(good)), self.names.vectors, self.vectors_schema)
        )
        failpoint("write.between")
        failures = self._write_table(
            self.names.failures,
            _failure_rows(batch.filter(pa.array(failed)), self.names.failures, self.failures_schema),
        )
        failpoint("receipt.before")
        counts = pc.value_counts(classes.filter(pa.array(failed))).to_pylist()
        return Receipt(
            vector_fragments=_fragments_json(vectors),
            failure_fragments=_fragments_json(failures),
            vector_runs=pack_runs(np.sort(keys[good])),
            failure_runs=pack_runs(np.sort(keys[failed])),
            skipped_runs=pack_runs(np.sort(keys[skipped])),
            kept_out_runs=pack_runs(np.sort(keys[kept_out])),
            kept_out_ids=json.dumps(_ids_by_position(batch, keys, kept_out)),
            lasting_runs=pack_runs(np.sort(keys[lasting])),
            same_runs=pack_runs(np.sort(keys[same])),
            same_rows=rows_to_bytes(_same_rows(batch.filter(pa.array(same)), self.vectors_schema)),
            not_attempted=int(undone.sum()),
            why_not_attempted=_first_error(batch, undone),
            failure_counts={entry["values"]: entry["counts"] for entry in counts},
            extra_counts=_extra_counts(batch.filter(pc.equal(classes, ErrorClass.UNSUPPORTED_FORMAT))),
            size_bytes=_sum(batch, SIZE_BYTES.name),
            written_bytes=sum(file.file_size_bytes or 0 for f in (*vectors, *failures) for file in f.files),
            requests=_sum(batch, REQUESTS.name),
            reused=_sum(batch, REUSED.name),
            seconds=_seconds(batch) | {"write": time.monotonic() - started},
        )

    def write_failures(self, rows: pa.Table) -> list[FragmentMetadata]:
        """Write failures alone (`id`, `uri`, positions and error columns), and commit nothing. Raises as `write`
        does."""
        return self._write_table(self.names.failures, _failure_rows(rows, self.names.failures, self.failures_schema))

    def _write_table(self, uri: str, rows: pa.Table) -> list[FragmentMetadata]:
        if not rows.num_rows:
            return []
        dataset = open_dataset(uri, self.storage)
        if dataset is None:
            raise TableGoneError(uri)
        check_landing(uri, dataset, rows.schema)
        # Into the version that was checked: the fragment gets the field ids of that schema and no other.
        # A reader that a retry inside Lance finds half consumed loses rows silently; a table can be read again.
        fragments: list[FragmentMetadata] = write_fragments(
            rows,
            dataset,
            schema=rows.schema,
            mode="append",
            data_storage_version=FILE_FORMAT,
            storage_options=lance_options(uri, self.storage),
        )
        written = sum(f.physical_rows for f in fragments)
        if written != rows.num_rows:
            raise OSError(f"{uri}: {rows.num_rows} rows given, {written} written; nothing of them was committed")
        return fragments


def _vector_rows(rows: pa.Table, uri: str, schema: pa.Schema) -> pa.Table:
    rows, vectors, layout = _redacted(rows), vector_columns(schema), layout_of(schema)
    if layout is not None:
        check_regions(rows, vectors)
    if layout == "rows":
        # What is not written is not repeated for every region either.
        wanted = {*schema.names, REGIONS.name}
        lists = [*vectors, *read_labellings(schema)]
        rows = explode_regions(rows.select([name for name in rows.column_names if name in wanted]), lists)
    table = _conform(rows, uri, schema)
    for name in vectors:
        if table[name].null_count:
            bad = table_keys(table.filter(pc.is_null(table[name])))
            raise ValueError(f"no {name} and no error class at (shard, row) {describe_keys(bad)}")
    return table


def _same_rows(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """What may be new of images whose vectors are there: all but what is made of their bytes."""
    made = {
        *vector_columns(schema),
        *read_labellings(schema),
        *(field.name for field in (*IMAGE_FIELDS, REGION, REGION_ID, REGIONS)),
    }
    return _redacted(rows.select([name for name in schema.names if name not in made])) if rows.num_rows else rows


def _failure_rows(rows: pa.Table, uri: str, schema: pa.Schema) -> pa.Table:
    versions = _versions(rows)
    rows = _redacted(
        rows.select([ID.name, URI.name, *(f.name for f in (*POSITION_FIELDS, *_FAILURE_COLUMNS.values()))])
    ).append_column(FAILED_VERSION, versions)
    back = {field.name: name for name, field in _FAILURE_COLUMNS.items()}
    return _conform(rows.rename_columns([back.get(name, name) for name in rows.column_names]), uri, schema)


def _versions(rows: pa.Table) -> pa.ChunkedArray:
    """What the source says of each image's version; where it says nothing, the etag of what was fetched, as listings
    give it."""
    unknown = pa.nulls(rows.num_rows, FAILED_VERSION.type)
    said = rows[SOURCE_VERSION.name] if SOURCE_VERSION.name in rows.column_names else unknown
    fetched = rows[ETAG.name] if ETAG.name in rows.column_names else unknown
    return pc.coalesce(said, pc.replace_substring_regex(fetched, _QUOTED, r"\1"))


def _redacted(rows: pa.Table) -> pa.Table:
    uris = [None if uri is None else redact_uri(uri) for uri in rows[URI.name].to_pylist()]
    return set_column(rows, URI, pa.array(uris, URI.type))


def _conform(rows: pa.Table, uri: str, schema: pa.Schema) -> pa.Table:
    missing = [name for name in schema.names if name not in rows.column_names]
    if missing:
        raise ValueError(f"the batch lacks {', '.join(missing)}; it has {', '.join(rows.column_names)}")
    check_nulls(uri, rows, schema)
    return rows.select(schema.names).cast(schema).combine_chunks()


def _are(classes: pa.Array, marker: str) -> np.ndarray:
    """(N,) bool: which rows have the error class `marker`."""
    found: np.ndarray = pc.fill_null(pc.equal(classes, marker), False).to_numpy(zero_copy_only=False)
    return found


def _ids_by_position(batch: pa.Table, keys: np.ndarray, chosen: np.ndarray) -> list[str]:
    rows = np.flatnonzero(chosen)
    ids: list[str] = batch[ID.name].take(pa.array(rows[np.argsort(keys[rows])])).to_pylist()
    return ids


def _first_error(batch: pa.Table, chosen: np.ndarray) -> str:
    rows = np.flatnonzero(chosen)
    return (batch[ERROR.name][int(rows[0])].as_py() or "") if len(rows) else ""


def _extra_counts(unsupported: pa.Table) -> dict[str, int]:
    """Rows by the extra that their error asks for."""
    named = pc.extract_regex(unsupported[ERROR.name], _EXTRA).combine_chunks()
    found = pc.value_counts(pc.struct_field(named, "extra").drop_null()).to_pylist()
    return {entry["values"]: entry["counts"] for entry in found}


def _check_distinct(keys: np.ndarray) -> None:
    ordered = np.sort(keys)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise ValueError(f"positions come twice in one batch: (shard, row) {describe_keys(twice)}")


def _fragments_json(fragments: Sequence[FragmentMetadata]) -> str:
    return json.dumps([f.to_json() for f in fragments])


def _sum(batch: pa.Table, name: str) -> int:
    return int(pc.sum(batch[name]).as_py() or 0) if name in batch.column_names else 0


def _seconds(batch: pa.Table) -> dict[str, float]:
    names = [name for name in batch.column_names if name.startswith(SECONDS_PREFIX)]
    return {name.removeprefix(SECONDS_PREFIX): float(pc.sum(batch[name]).as_py() or 0.0) for name in names}
