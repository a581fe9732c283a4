"""Brings vectors to unit length, in the type they are stored in."""

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from operators.base.columns import VECTOR
from operators.base.operator import Operator, OperatorConfig
from operators.vectors.apply import derive, derived_field, derived_schema, vector_type

DTYPES = {"float16": pa.float16(), "float32": pa.float32()}


def l2_normalize(vectors_ND: np.ndarray) -> np.ndarray:
    """(N, D) float32 brought to unit length. The norm is taken in float64, so large finite vectors do not overflow."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit: np.ndarray = (vectors_ND / norms[:, None]).astype(np.float32)
    return unit


def why_bad(vectors_ND: np.ndarray) -> dict[int, str]:
    """Row index -> reason, for rows with NaN or infinity and rows of zeros."""
    finite = np.isfinite(vectors_ND).all(1)
    reasons = {int(i): "the vector has NaN or infinite components" for i in np.flatnonzero(~finite)}
    zero = ~vectors_ND.any(1)
    return reasons | {int(i): "the vector is zero" for i in np.flatnonzero(zero)}


class NormalizeOptions(BaseModel):
    """What a user may choose about the stored vectors, the same for all models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    l2: bool = True
    dtype: Literal["float16", "float32"] = "float16"


class NormalizeConfig(OperatorConfig, NormalizeOptions):
    """Brings float32 vectors to unit length (unless `l2` is off) and to `dtype`; unusable ones become failures."""

    name: ClassVar[str] = "normalize"

    column: str = VECTOR

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.column})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return derived_schema(schema, self._field(schema))

    def _field(self, schema: pa.Schema) -> pa.Field:
        dim = vector_type(schema.field(self.column).type).list_size
        return derived_field(schema, self.column, self.column, dim, DTYPES[self.dtype])

    def space(self, column: str) -> dict[str, Any]:
        return {"l2": self.l2, "dtype": self.dtype} if column == self.column else {}

    def build(self) -> "Normalize":
        return Normalize(self)


class Normalize(Operator[NormalizeConfig]):
    def transform(self, batch: pa.Table) -> pa.Table:
        config = self.config
        return derive(batch, config.column, config._field(batch.schema), self._normalized, stage=config.name)

    def _normalized(self, vectors_ND: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """((N, D) as they are to be stored, index -> why that vector cannot be stored)."""
        bad = why_bad(vectors_ND)
        out = l2_normalize(vectors_ND) if self.config.l2 else vectors_ND
        with np.errstate(over="ignore", invalid="ignore"):
            out = out.astype(self.config.dtype)
        for index in np.flatnonzero(~np.isfinite(out).all(1) | ~out.any(1)):
            bad.setdefault(int(index), f"the vector does not fit {self.config.dtype}; set normalize.l2 or float32")
        return out, bad


class RenormalizeConfig(OperatorConfig):
    """Brings the float32 vectors of `column` to unit length; those of which nothing is left become failures."""

    name: ClassVar[str] = "renormalize"

    column: str

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.column})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return derived_schema(schema, self._field(schema))

    def _field(self, schema: pa.Schema) -> pa.Field:
        dim = vector_type(schema.field(self.column).type).list_size
        return derived_field(schema, self.column, self.column, dim, pa.float32())

    def space(self, column: str) -> dict[str, Any]:
        return {"l2": True} if column == self.column else {}

    def build(self) -> "Renormalize":
        return Renormalize(self)


class Renormalize(Operator[RenormalizeConfig]):
    def transform(self, batch: pa.Table) -> pa.Table:
        column, field = self.config.column, self.config._field(batch.schema)
        return derive(
            batch, column, field, lambda vectors: (l2_normalize(vectors), why_bad(vectors)), stage=self.config.name
        )
