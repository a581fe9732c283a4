"""Vectors to unit length once more, after a PCA or a cut has changed it."""

from typing import Any, ClassVar

import pyarrow as pa

from operators.base.operator import Operator, OperatorConfig
from operators.normalize import l2_normalize, why_bad
from operators.vectors.apply import derive, derived_field, derived_schema, vector_type


class RenormalizeConfig(OperatorConfig):
    """The vectors of `column`, float32, to unit length; those of which nothing is left become failures."""

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
