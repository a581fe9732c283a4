"""The Arrow shell of what is computed of vectors: a column of them, or of lists of them, to another."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from operators.base.arrays import (
    flatten_lists,
    is_list,
    list_field,
    rebuild_lists,
    vector_field,
    vectors_from_numpy,
    vectors_to_numpy,
)
from operators.base.errors import ErrorClass, Failure
from operators.base.rows import about_column, fail_rows, set_column

VectorFunction = Callable[[np.ndarray], tuple[np.ndarray, Mapping[int, str]]]
"""(M, D) float32 to (M, E), and why the vector of an index is not to be kept."""


def vector_type(kind: pa.DataType) -> pa.FixedSizeListType:
    """Of a column of vectors, or of lists of vectors."""
    return kind.value_type if pa.types.is_list(kind) else kind


def derived_field(schema: pa.Schema, source: str, column: str, dim: int, value_type: pa.DataType) -> pa.Field:
    """A vector column, of lists where `source` is one of lists."""
    field = vector_field(dim, value_type, column)
    return list_field(field) if is_list(schema.field(source)) else field


def derived_schema(schema: pa.Schema, field: pa.Field) -> pa.Schema:
    """The schema with `field` where its column stands, or behind."""
    index = schema.get_field_index(field.name)
    return schema.set(index, field) if index >= 0 else schema.append(field)


def derive(batch: pa.Table, source: str, field: pa.Field, compute: VectorFunction, *, stage: str) -> pa.Table:
    """The batch with `field` made of the vectors in `source`, none of which is null.

    Rows with a vector that is not to be kept fail in `stage`: all of an image's regions, since no image comes in half.
    """
    column = batch[source]
    if is_list(field):
        items, lengths = flatten_lists(column)
        after, reasons = compute(vectors_to_numpy(items).astype(np.float32, copy=False))
        bad = _of_rows(reasons, lengths)
        values = rebuild_lists(vectors_from_numpy(after), lengths, _without(len(lengths), bad))
    else:
        after, reasons = compute(vectors_to_numpy(column).astype(np.float32, copy=False))
        bad = dict(reasons)
        valid = _without(len(after), bad)
        values = vectors_from_numpy(np.where(valid[:, None], after, after.dtype.type(0)), valid)
    failures = {
        row: Failure(error_class=ErrorClass.BAD_VECTOR, message=about_column(field.name, why))
        for row, why in bad.items()
    }
    return fail_rows(set_column(batch, field, values), failures, stage)


def _without(count: int, bad: Mapping[int, str]) -> np.ndarray:
    """(count,) boolean, false at the indices that are bad."""
    valid = np.ones(count, bool)
    valid[list(bad)] = False
    return valid


def _of_rows(bad: Mapping[int, str], lengths: np.ndarray) -> dict[int, str]:
    """From vectors end to end to the rows that they are of: the first bad region of each, by its index in the row."""
    ends = np.cumsum(lengths)
    reasons: dict[int, str] = {}
    for at, why in sorted(bad.items()):
        row = int(np.searchsorted(ends, at, side="right"))
        reasons.setdefault(row, f"region {at - int(ends[row] - lengths[row])}: {why}")
    return reasons
