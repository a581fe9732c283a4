"""One file of an export, from the rows of the table: streamed, counted, and there whole or not at all."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.base.arrays import vectors_to_numpy
from operators.base.columns import URI
from pipelines.export.folder import ExportFolder
from pipelines.export.npy import npy_header
from pipelines.export.plan import NPY_TYPES, ExportError, ExportRequest, Part, export_schema, file_names
from pipelines.export.record import mark
from pipelines.scan.sql import sql_column
from pipelines.table.table import Table

IMAGE_PATH = "image_path"
"""What clip-retrieval calls the URI of an image in its metadata."""
_BATCH_ROWS = 1024
_READ_AHEAD_BATCHES = 4
_GROUP_BYTES = 32 << 20
_MAX_GROUP_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class PartTask:
    """All that a worker needs to write one part; plain data."""

    request: ExportRequest
    version: int
    part: Part
    num_files: int
    folder: ExportFolder
    table: Table

    @property
    def names(self) -> tuple[str, ...]:
        return file_names(self.request.format, self.part.number, self.num_files)


def write_part(task: PartTask) -> int:
    """Write one part; gives its rows. Doing it again writes the same rows under the same names.

    Memory: a few batches of 1,024 rows and one row group of 32 MiB, whatever the rows. Raises `ExportError`, `OSError`.
    """
    dataset = open_version(task.table, task.version)
    request = task.request
    schema = export_schema(dataset.schema, request)
    batches = _counted(_read(dataset, task, schema), task)
    if request.format == "parquet":
        with task.folder.whole_file(task.names[0]) as path:
            _write_parquet(batches, schema.with_metadata(mark(request, task.version)), path)
        return task.part.rows
    vectors, metadata = task.names
    with task.folder.whole_file(metadata) as metadata_path, task.folder.whole_file(vectors) as vectors_path:
        _write_npy(batches, schema, task, vectors_path, metadata_path)
    return task.part.rows


def open_version(table: Table, version: int) -> Any:
    """The table at one version. Raises `ExportError` where that version has been cleaned up; else as `latest` does."""
    dataset = table.latest()
    try:
        return dataset.checkout_version(version)
    except (ValueError, OSError) as error:
        if "not found" not in str(error):
            raise
        raise ExportError(
            f"{table.uri}: version {version}, which this export began with, has been cleaned up; export the table as "
            "it is now into another folder"
        ) from None


def _read(dataset: Any, task: PartTask, schema: pa.Schema) -> Iterator[pa.Table]:
    for piece in task.part.slices:
        scanner = dataset.get_fragment(piece.fragment).scanner(
            columns=schema.names,
            filter=task.request.where,
            use_scalar_index=False,
            offset=piece.offset,
            limit=piece.rows,
            batch_size=_BATCH_ROWS,
            batch_readahead=_READ_AHEAD_BATCHES,
        )
        for batch in scanner.to_batches():
            yield pa.Table.from_batches([batch]).select(schema.names).cast(schema)


def _counted(batches: Iterable[pa.Table], task: PartTask) -> Iterator[pa.Table]:
    """Passes the rows on and counts them. Raises `ExportError` where they are not as many as planned: the filter gives
    others each time."""
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        yield batch
    if rows != task.part.rows:
        raise ExportError(
            f"file {task.names[0]}: {rows} rows where {task.part.rows} were counted; the filter "
            f"{task.request.where!r} does not always give the same rows"
        )


def _write_parquet(batches: Iterable[pa.Table], schema: pa.Schema, path: str) -> None:
    plain = [field.name for field in schema if not pa.types.is_nested(field.type)]
    # A dictionary of vectors is built in vain: no two are the same.
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=plain) as writer:
        for group in _groups(batches):
            writer.write_table(group, row_group_size=group.num_rows)


def _groups(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    size = rows = 0
    for batch in batches:
        held.append(batch)
        size, rows = size + batch.nbytes, rows + batch.num_rows
        if size >= _GROUP_BYTES or rows >= _MAX_GROUP_ROWS:
            yield pa.concat_tables(held)
            held, size, rows = [], 0, 0
    if rows:
        yield pa.concat_tables(held)


def _write_npy(
    batches: Iterable[pa.Table], schema: pa.Schema, task: PartTask, vectors_path: str, metadata_path: str
) -> None:
    [column] = task.request.vectors
    kind = schema.field(column).type
    metadata = pa.schema([field for field in schema if field.name != column])
    if IMAGE_PATH not in metadata.names:
        names = [IMAGE_PATH if name == URI.name else name for name in metadata.names]
        metadata = pa.schema([field.with_name(name) for field, name in zip(metadata, names, strict=True)])
    metadata = metadata.with_metadata(mark(task.request, task.version))
    with open(vectors_path, "wb") as out:
        out.write(npy_header(task.part.rows, kind.list_size, NPY_TYPES[kind.value_type]))

        def rest() -> Iterator[pa.Table]:
            for batch in batches:
                out.write(_matrix(batch[column], task).data)
                yield batch.drop_columns([column]).rename_columns(metadata.names)

        _write_parquet(rest(), metadata, metadata_path)


def _matrix(column: pa.ChunkedArray, task: PartTask) -> np.ndarray:
    if column.null_count:
        name = task.request.vectors[0]
        raise ExportError(
            f"file {task.names[0]}: column {name!r} has rows without a vector, and an npy file has a vector for each "
            f"row; leave them out with --where '{sql_column(name)} IS NOT NULL'"
        )
    return np.ascontiguousarray(vectors_to_numpy(column))
