"""Pixels, vectors and lists of them: their Arrow types, and views of columns as NumPy arrays and back."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import PIXELS, VECTOR


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


def large_binary(values: Sequence[bytes | memoryview | None]) -> pa.LargeBinaryArray:
    """The values in memory of one size from the start: `pa.array` lets it grow, and takes three times as long."""
    lengths = [len(value) if value is not None else 0 for value in values]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    data = pa.py_buffer(b"".join(value for value in values if value))
    valid = np.array([value is not None for value in values], bool)
    bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.large_binary(), len(values), [bitmap, pa.py_buffer(offsets), data])


def binary_in_place(values: Sequence[bytes | memoryview]) -> pa.LargeBinaryArray:
    """An array of values that lie one behind the other in one memory, or of one, in that memory."""
    memory = pa.py_buffer(memoryview(values[0]).obj)
    ends = np.concatenate([[0], np.cumsum([len(value) for value in values], dtype=np.int64)])
    data = memory.slice(pa.py_buffer(values[0]).address - memory.address, int(ends[-1]))
    return pa.Array.from_buffers(pa.large_binary(), len(values), [None, pa.py_buffer(ends), data])


def binary_views(column: pa.ChunkedArray) -> list[memoryview]:
    """A view of each value of a large_binary column, empty where it is null. Scalars of Arrow would be copies."""
    return [view for chunk in column.chunks if len(chunk) for view in _views(chunk)]


def _views(array: pa.LargeBinaryArray) -> list[memoryview]:
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1].tolist()
    whole = memoryview(data or b"")
    return [whole[start:end] for start, end in pairwise(ends)]


def vectors_to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """The (N, dim) view of a fixed-size-list column without nulls."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    if array.null_count:
        raise ValueError(f"{array.null_count} of {len(array)} rows have no vector")
    dim = column.type.list_size
    flat: np.ndarray = array.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(array), dim)


def vectors_from_numpy(vectors: np.ndarray, valid: np.ndarray | None = None) -> pa.Array:
    """A fixed-size list of the array's own dtype from (N, dim); null where `valid` (N,) is false."""
    mask = None if valid is None or valid.all() else pa.array(~valid)
    values = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, vectors.shape[1], mask=mask)


def list_field(item: pa.Field) -> pa.Field:
    """A list column of `item` under the same name: a value for each region of a row."""
    return pa.field(item.name, pa.list_(item.type))


def is_list(field: pa.Field) -> bool:
    """Whether the column holds a list with a value for each region, and not one value for the row."""
    return bool(pa.types.is_list(field.type))


def flatten_lists(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, np.ndarray]:
    """(the items of all rows end to end, the number in each row (N,) int64); `rebuild_lists` is the way back.

    A view where the column is one chunk. Raises `ValueError` where a row has no list.
    """
    if column.null_count:
        raise ValueError(f"{column.null_count} of {len(column)} rows have no regions")
    items = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
    lengths = pc.list_value_length(column).to_numpy().astype(np.int64)
    return items, lengths


def rebuild_lists(items: pa.Array, lengths: np.ndarray, valid: np.ndarray | None = None) -> pa.ListArray:
    """Rows with `lengths` (N,) items each, from items end to end; null, with no items, where not `valid` (N,)."""
    mask = None
    if valid is not None and not valid.all():
        if lengths[~valid].any():
            items, lengths = items.filter(pa.array(np.repeat(valid, lengths))), np.where(valid, lengths, 0)
        mask = pa.array(~valid)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), items, mask=mask)


def spread(values: pa.Array, places: np.ndarray, length: int) -> pa.Array:
    """An array of `length` with the values at the indices `places`, (len(values),) of int, and null elsewhere."""
    if len(values) == length:
        return values
    index = np.full(length, -1)
    index[places] = np.arange(len(values))
    return values.take(pa.array(index, mask=index < 0))
