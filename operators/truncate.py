"""Cuts vectors to their first components.

This suits models trained so that those carry most of the meaning (Kusupati et al. 2022, "Matryoshka Representation
Learning"), and the output of a PCA, whose components come in the order of their variance.
"""

from typing import Any, ClassVar

import pyarrow as pa

from operators.base.operator import Operator
from operators.vectors.apply import FromVectorsConfig, derive, derived_field


class TruncateConfig(FromVectorsConfig):
    """Cuts the vectors of `source` to their first `dim` components, as float32 in `column`."""

    name: ClassVar[str] = "truncate"

    dim: int
    column: str

    def fields(self, schema: pa.Schema) -> list[pa.Field]:
        return [derived_field(schema, self.source, self.column, self.dim, pa.float32())]

    def space(self, column: str) -> dict[str, Any]:
        return {"dim": self.dim} if column == self.column else {}

    def build(self) -> "Truncate":
        return Truncate(self)


class Truncate(Operator[TruncateConfig]):
    def transform(self, batch: pa.Table) -> pa.Table:
        config = self.config
        [field] = config.fields(batch.schema)
        return derive(batch, config.source, field, lambda vectors: (vectors[:, : config.dim], {}), stage=config.name)
