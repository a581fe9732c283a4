"""The Arrow shell of what is computed of vectors: a column of them, or of lists of them, to another."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from operators.columns import about_column, fail_rows, set_column, vector_field, vectors_from_numpy
from operators.failures import ErrorClass, Failure

Compute = Callable[[np.ndarray], np.ndarray]
"""(M, D) float32 to (M, E)."""


def vector_type(kind: pa.DataType) -> pa.FixedSizeListType:
    """Of a column of vectors, or of lists of vectors."""
    return kind.value_type if pa.types.is_list(kind) else kind


def derived_field(schema: pa.Schema, source: str, column: str, dim: int, value_type: pa.DataType) -> pa.Field:
    """A vector column, of lists where `source` is one of lists."""
    field = vector_field(dim, value_type, column)
    return pa.field(column, pa.list_(field.type)) if pa.types.is_list(schema.field(source).type) else field


def derived_schema(schema: pa.Schema, field: pa.Field) -> pa.Schema:
    """The schema with `field` where its column stands, or behind."""
    index = schema.get_field_index(field.name)
    return schema.set(index, field) if index >= 0 else schema.append(field)


def derive(
    batch: pa.Table,
    source: str,
    field: pa.Field,
    compute: Compute,
    *,
    stage: str,
    why_bad: Callable[[np.ndarray, np.ndarray], Mapping[int, str]] = lambda before, after: {},
) -> pa.Table:
    """The batch with `field` made of the vectors in `source`, none of which is null.

    `why_bad` gives reasons by index for vectors that are not to be kept, of what went in and what came out: their rows
    fail in `stage`, with null in `field`.
    """
    column = batch[source].combine_chunks()
    lists = column if pa.types.is_list(column.type) else None
    flat = column if lists is None else lists.flatten()
    dim = vector_type(column.type).list_size
    before = flat.flatten().to_numpy(zero_copy_only=False).reshape(len(flat), dim).astype(np.float32)
    after = compute(before)
    reasons = why_bad(before, after)
    bad: dict[int, str] = {}
    for index, why in sorted(reasons.items()):
        row = index if lists is None else _row_of(lists, index)
        bad.setdefault(row, why if lists is None else f"region {index - int(_starts(lists)[row])}: {why}")
    valid = np.ones(batch.num_rows, bool)
    valid[list(bad)] = False
    values = _column(after, lists, valid, field)
    failures = {
        row: Failure(error_class=ErrorClass.BAD_VECTOR, message=about_column(field.name, why))
        for row, why in bad.items()
    }
    return fail_rows(set_column(batch, field, values), failures, stage)


def _starts(lists: pa.ListArray) -> np.ndarray:
    offsets: np.ndarray = lists.offsets.to_numpy()
    starts: np.ndarray = offsets - offsets[0]
    return starts


def _row_of(lists: pa.ListArray, index: int) -> int:
    return int(np.searchsorted(_starts(lists), index, side="right")) - 1


def _column(after: np.ndarray, lists: pa.ListArray | None, valid: np.ndarray, field: pa.Field) -> pa.Array:
    mask = None if valid.all() else pa.array(~valid)
    if lists is None:
        return vectors_from_numpy(np.where(valid[:, None], after, 0).astype(after.dtype), valid).cast(field.type)
    vectors = vectors_from_numpy(after)
    return pa.ListArray.from_arrays(pa.array(_starts(lists), pa.int32()), vectors, mask=mask).cast(field.type)
