"""Names and Arrow types of the columns that operators share, and views between Arrow and NumPy."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.failures import NOT_ATTEMPTED, Failure

SHARD = pa.field("shard", pa.int32(), nullable=False)
ROW = pa.field("row", pa.int32(), nullable=False)
ID = pa.field("id", pa.string())
URI = pa.field("uri", pa.string())
IMAGE_BYTES = pa.field("image_bytes", pa.large_binary())
WIDTH = pa.field("width", pa.int32())
HEIGHT = pa.field("height", pa.int32())
FORMAT = pa.field("format", pa.string())
SIZE_BYTES = pa.field("size_bytes", pa.int64())
ETAG = pa.field("etag", pa.string())
SHA256 = pa.field("sha256", pa.string())

ERROR_STAGE = pa.field("error_stage", pa.string())
ERROR_CLASS = pa.field("error_class", pa.string())
ERROR = pa.field("error", pa.string())
ERROR_HTTP_STATUS = pa.field("error_http_status", pa.int16())
ERROR_ATTEMPTS = pa.field("error_attempts", pa.int16())

BOX = pa.struct([("x0", pa.float32()), ("y0", pa.float32()), ("x1", pa.float32()), ("y1", pa.float32())])
"""In pixels of the oriented original; `x1` and `y1` are exclusive."""
REGION = pa.field(
    "region",
    pa.struct(
        [("kind", pa.string()), ("index", pa.int32()), ("box", BOX), ("label", pa.string()), ("score", pa.float32())]
    ),
)
"""A part of an image that has a vector of its own: `index` counts from 0 within the image, `kind` is one of
`whole`, `grid`, `tile`, `box`, `detection`, `patch`; label and score are null where nobody gave any."""
REGIONS = pa.field("regions", pa.list_(REGION.type))
"""All of an image's regions, in the order of its vectors."""
REGION_ID = pa.field("region_id", pa.string())
"""`<id>#<index>`, of a table with a row per region."""

POSITION_FIELDS = (SHARD, ROW)
ERROR_FIELDS = (ERROR_STAGE, ERROR_CLASS, ERROR, ERROR_HTTP_STATUS, ERROR_ATTEMPTS)
FETCH_FIELDS = (SIZE_BYTES, ETAG, SHA256)
IMAGE_FIELDS = (WIDTH, HEIGHT, FORMAT)

REQUESTS = pa.field("requests", pa.int16())
"""Requests sent for the row, retries and redirects included. Counted in the report, never written."""

SECONDS_PREFIX = "seconds_"
"""`seconds_<operator>`: float32, the row's share of the operator's wall time; `seconds_load_<stage>`: what the actor
took to build the stage's operators. Counted in the report, never written."""

SOURCE_SCHEMA = pa.schema([*POSITION_FIELDS, ID, URI, *ERROR_FIELDS])
"""What every source emits; the manifest columns that the user keeps come between `uri` and the error columns."""

PIXELS = "pixels"
VECTOR = "vector"
"""The columns of a run with one model. Of several models, each has a vector column of its own, `vector_<name>`."""

RESERVED = frozenset(f.name for f in (*SOURCE_SCHEMA, IMAGE_BYTES, *FETCH_FIELDS, *IMAGE_FIELDS, REQUESTS)) | {
    PIXELS,
    VECTOR,
    REGION.name,
    REGIONS.name,
    REGION_ID.name,
    "stage",
    "http_status",
    "attempts",
}
"""Names that a kept manifest column cannot have, whatever the models."""


def pixels_name(vector_column: str) -> str:
    """The pixel column of several that is named after a vector column."""
    return f"{PIXELS}_{vector_column}"


def about_column(column: str, message: str) -> str:
    """The message of a row that one model fails: of several models it says which, by the vector column."""
    return message if column == VECTOR else f"{column}: {message}"


def pixels_field(height: int, width: int, name: str = PIXELS) -> pa.Field:
    """uint8 RGB pixels (height, width, 3), row-major, as fixed-size binary: a NumPy view without a copy."""
    return pa.field(name, pa.binary(height * width * 3))


def vector_field(dim: int, value_type: pa.DataType, name: str = VECTOR) -> pa.Field:
    """A fixed-size list, the one type that Lance indexes as a vector."""
    return pa.field(name, pa.list_(pa.field("item", value_type), dim))


def pixels_to_numpy(column: pa.ChunkedArray, height: int, width: int) -> np.ndarray:
    """(N, height, width, 3) uint8; a read-only view where the column is one chunk without nulls."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    if array.null_count:
        raise ValueError(f"{array.null_count} of {len(array)} rows have no pixels")
    size = height * width * 3
    if array.type.byte_width != size:
        raise ValueError(f"pixels of {array.type.byte_width} bytes, expected {height}x{width}x3")
    if not len(array):
        return np.empty((0, height, width, 3), np.uint8)
    flat = np.frombuffer(array.buffers()[1], np.uint8)
    flat = flat[array.offset * size : (array.offset + len(array)) * size]
    return flat.reshape(len(array), height, width, 3)


def pixels_from_numpy(pixels: np.ndarray, valid: np.ndarray) -> pa.Array:
    """Fixed-size binary over the memory of `pixels`, (N, H, W, 3) or (N, H * W * 3) uint8, C-contiguous.

    Null where not `valid` (N,).
    """
    count = len(pixels)
    bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    width = int(np.prod(pixels.shape[1:]))
    return pa.Array.from_buffers(pa.binary(width), count, [bitmap, pa.py_buffer(pixels)])


def vectors_to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """(N, dim) view of a fixed-size-list column without nulls."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    if array.null_count:
        raise ValueError(f"{array.null_count} of {len(array)} rows have no vector")
    dim = column.type.list_size
    flat: np.ndarray = array.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(array), dim)


def vectors_from_numpy(vectors: np.ndarray, valid: np.ndarray | None = None) -> pa.Array:
    """Fixed-size list of the array's own dtype from (N, dim); null where `valid` (N,) is false."""
    mask = None if valid is None or valid.all() else pa.array(~valid)
    values = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, vectors.shape[1], mask=mask)


def list_field(item: pa.Field) -> pa.Field:
    """A list of what `item` holds in each row, under the same name: a value for each region."""
    return pa.field(item.name, pa.list_(item.type))


def is_list(field: pa.Field) -> bool:
    """Whether the column holds a value for each region, and not one for the row."""
    return bool(pa.types.is_list(field.type))


def flatten_lists(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, np.ndarray]:
    """(the items of all rows end to end, how many each row has (N,) int64); `rebuild_lists` is the way back.

    A view where the column is one chunk. Raises `ValueError` where a row has no list.
    """
    if column.null_count:
        raise ValueError(f"{column.null_count} of {len(column)} rows have no regions")
    items = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
    lengths = pc.list_value_length(column).to_numpy().astype(np.int64)
    return items, lengths


def rebuild_lists(items: pa.Array, lengths: np.ndarray, valid: np.ndarray | None = None) -> pa.ListArray:
    """Rows of `lengths` (N,) items each from items end to end; null, and its items left out, where not `valid` (N,)."""
    mask = None
    if valid is not None and not valid.all():
        if lengths[~valid].any():
            items, lengths = items.filter(pa.array(np.repeat(valid, lengths))), np.where(valid, lengths, 0)
        mask = pa.array(~valid)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), items, mask=mask)


def set_column(table: pa.Table, field: pa.Field, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with `field` replaced where it stands, or appended."""
    index = table.schema.get_field_index(field.name)
    if index < 0:
        return table.append_column(field, values)
    return table.set_column(index, field, values)


def good_rows(table: pa.Table) -> pa.ChunkedArray:
    """Boolean per row: true where no operator has failed the row."""
    return pc.is_null(table[ERROR_CLASS.name])


def fail_rows(table: pa.Table, failures: Mapping[int, Failure], stage: str) -> pa.Table:
    """The table with the error columns filled at the given row indices; other rows are left as they are."""
    return _with_errors(table, {row: _error_cells(failure, stage) for row, failure in failures.items()})


def leave_undone(table: pa.Table, reasons: Mapping[int, str], stage: str) -> pa.Table:
    """The table with the given row indices marked as not attempted: passed by like failed rows, and not failures."""
    return _with_errors(table, {row: (stage, NOT_ATTEMPTED, reason, None, None) for row, reason in reasons.items()})


def _error_cells(failure: Failure, stage: str) -> tuple[object, ...]:
    attempts = min(failure.attempts, 32767)
    return stage, str(failure.error_class), failure.message, failure.http_status, attempts


def _with_errors(table: pa.Table, cells: Mapping[int, tuple[object, ...]]) -> pa.Table:
    """The values of `ERROR_FIELDS` at the given row indices."""
    if not cells:
        return table
    columns: dict[str, list[object]] = {f.name: table[f.name].to_pylist() for f in ERROR_FIELDS}
    for row, values in cells.items():
        for field, value in zip(ERROR_FIELDS, values, strict=True):
            columns[field.name][row] = value
    for field in ERROR_FIELDS:
        table = set_column(table, field, pa.array(columns[field.name], field.type))
    return table
