"""Vectors to unit length, in the type they are stored in."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from operators.base import Operator, OperatorConfig
from operators.columns import (
    VECTOR,
    about_column,
    fail_rows,
    flatten_lists,
    is_list,
    list_field,
    rebuild_lists,
    set_column,
    vector_field,
    vectors_from_numpy,
    vectors_to_numpy,
)
from operators.failures import ErrorClass, Failure

DTYPES = {"float16": pa.float16(), "float32": pa.float32()}


def l2_normalize(vectors_ND: np.ndarray) -> np.ndarray:
    """(N, D) float32 to unit length. The norm is taken in float64, so large finite vectors do not overflow."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit: np.ndarray = (vectors_ND / norms[:, None]).astype(np.float32)
    return unit


def why_bad(vectors_ND: np.ndarray) -> dict[int, str]:
    """Row index to reason, for rows with NaN or infinity and rows of zeros."""
    finite = np.isfinite(vectors_ND).all(1)
    reasons = {int(i): "the vector has NaN or infinite components" for i in np.flatnonzero(~finite)}
    zero = ~vectors_ND.any(1)
    return reasons | {int(i): "the vector is zero" for i in np.flatnonzero(zero)}


class NormalizeOptions(BaseModel):
    """What a user may choose about the vectors as they are stored, of all models alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    l2: bool = True
    dtype: Literal["float16", "float32"] = "float16"


class NormalizeConfig(OperatorConfig, NormalizeOptions):
    """Vectors, float32, to unit length (unless `l2` is off) and to `dtype`; unusable ones become failures."""

    name: ClassVar[str] = "normalize"

    column: str = VECTOR

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.column})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        there = schema.field(self.column)
        kind = there.type.value_type if is_list(there) else there.type
        field = vector_field(kind.list_size, DTYPES[self.dtype], self.column)
        made = list_field(field) if is_list(there) else field
        return schema.set(schema.get_field_index(self.column), made)

    def space(self, column: str) -> dict[str, Any]:
        return {"l2": self.l2, "dtype": self.dtype} if column == self.column else {}

    def build(self) -> "Normalize":
        return Normalize(self)


class Normalize(Operator[NormalizeConfig]):
    """A row of several regions fails where one of them has an unusable vector: no image comes in half."""

    def transform(self, batch: pa.Table) -> pa.Table:
        field = self.config.output_schema(batch.schema).field(self.config.column)
        column = batch[self.config.column]
        if is_list(field):
            items, lengths = flatten_lists(column)
            vectors, bad = self._normalized(vectors_to_numpy(items))
            bad = _of_rows(bad, lengths)
            values = rebuild_lists(vectors_from_numpy(vectors), lengths, _without(len(lengths), bad))
        else:
            vectors, bad = self._normalized(vectors_to_numpy(column))
            valid = _without(len(vectors), bad)
            vectors[~valid] = 0
            values = vectors_from_numpy(vectors, valid)
        failures = {
            row: Failure(error_class=ErrorClass.BAD_VECTOR, message=about_column(self.config.column, why))
            for row, why in bad.items()
        }
        return fail_rows(set_column(batch, field, values), failures, self.config.name)

    def _normalized(self, vectors: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """((N, D) as they are to be stored, why the vector of an index cannot be)."""
        bad = why_bad(vectors)
        out = l2_normalize(vectors) if self.config.l2 else vectors
        with np.errstate(over="ignore", invalid="ignore"):
            out = out.astype(self.config.dtype)
        for index in np.flatnonzero(~np.isfinite(out).all(1) | ~out.any(1)):
            bad.setdefault(int(index), f"the vector does not fit {self.config.dtype}; set normalize.l2 or float32")
        return out, bad


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
