"""The Arrow shell of functions on vectors: from a column of them, or of lists of them, to another."""

from collections.abc import Callable, Mapping, Sequence

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
from operators.base.operator import OperatorConfig
from operators.base.rows import about_column, fail_rows, set_column

VectorFunction = Callable[[np.ndarray], tuple[np.ndarray, Mapping[int, str]]]
"""From (M, D) float32 to ((M, E), index -> why that vector is not to be kept)."""


class FromVectorsConfig(OperatorConfig):
    """What makes columns from the vectors of `source`, in the place of columns of their names or beside them."""

    source: str

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.source})

    def fields(self, schema: pa.Schema) -> list[pa.Field]:
        """The columns that are made where `schema` goes in."""
        raise NotImplementedError

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        for field in self.fields(schema):
            schema = derived_schema(schema, field)
        return schema


def vector_type(kind: pa.DataType) -> pa.FixedSizeListType:
    """The fixed-size-list type of one vector, whether a row holds one or a list."""
    return kind.value_type if pa.types.is_list(kind) else kind


def derived_field(schema: pa.Schema, source: str, column: str, dim: int, value_type: pa.DataType) -> pa.Field:
    """The field of a vector column, with lists where `source` has lists."""
    field = vector_field(dim, value_type, column)
    return list_field(field) if is_list(schema.field(source)) else field


def derived_schema(schema: pa.Schema, field: pa.Field) -> pa.Schema:
    """The schema with `field` in place of the column of its name, or appended."""
    index = schema.get_field_index(field.name)
    return schema.set(index, field) if index >= 0 else schema.append(field)


def derive(batch: pa.Table, source: str, field: pa.Field, compute: VectorFunction, *, stage: str) -> pa.Table:
    """The batch with `field` computed from the vectors in `source`, none of which is null.

    A row with a vector that is not to be kept fails in `stage`, with all regions of its image: no image is stored in
    part.
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
    """(count,) boolean: false at the bad indices."""
    valid = np.ones(count, bool)
    valid[list(bad)] = False
    return valid


def _of_rows(bad: Mapping[int, str], lengths: np.ndarray) -> dict[int, str]:
    """Reasons by row, from reasons by vector end to end: for each row its first bad region, by its index in the row."""
    ends = np.cumsum(lengths)
    reasons: dict[int, str] = {}
    for at, why in sorted(bad.items()):
        row = int(np.searchsorted(ends, at, side="right"))
        reasons.setdefault(row, f"region {at - int(ends[row] - lengths[row])}: {why}")
    return reasons


def value_field(schema: pa.Schema, source: str, name: str, value_type: pa.DataType) -> pa.Field:
    """The field of a column with a value for each vector of `source`, with lists where that has lists."""
    field = pa.field(name, value_type)
    return list_field(field) if is_list(schema.field(source)) else field


def attach(
    batch: pa.Table, source: str, fields: Sequence[pa.Field], compute: Callable[[np.ndarray], Sequence[pa.Array]]
) -> pa.Table:
    """The batch with a column for each of `fields`, computed from the vectors in `source`, none of which is null.

    `compute` maps (M, D) float32 to an array of M values a field, null where a vector has none.
    """
    column = batch[source]
    lengths = None
    if is_list(batch.schema.field(source)):
        column, lengths = flatten_lists(column)
    arrays = compute(vectors_to_numpy(column).astype(np.float32, copy=False))
    for field, values in zip(fields, arrays, strict=True):
        batch = set_column(batch, field, values if lengths is None else rebuild_lists(values, lengths))
    return batch
