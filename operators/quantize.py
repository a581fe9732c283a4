"""Brings vectors to the precision in which they are stored."""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.base.operator import Operator
from operators.storage.artifacts import ArtifactRef, read_artifact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.vectors.apply import FromVectorsConfig, derive, derived_field
from operators.vectors.codecs import StoragePrecision, make_codec
from operators.vectors.float_codes import FLOATS


class QuantizeConfig(FromVectorsConfig):
    """Encodes the vectors of `source` in `column`, as values of `precision`."""

    name: ClassVar[str] = "quantize"

    precision: StoragePrecision
    dim: int
    """Length of the vectors of `source`."""
    artifact: ArtifactRef | None = None
    """The fitted quantizer of int8, binary and pq."""
    pq_bytes: int | None = None
    """Length of pq codes, known to the plan without the artifact."""
    column: str
    storage: StorageOptions = NO_OPTIONS

    def fields(self, schema: pa.Schema) -> list[pa.Field]:
        width, value_type = self.stored
        return [derived_field(schema, self.source, self.column, width, value_type)]

    @property
    def stored(self) -> tuple[int, pa.DataType]:
        """Number and type of the values stored for one vector."""
        if self.precision == "int8":
            return self.dim, pa.int8()
        if self.precision == "binary":
            return -(-self.dim // 8), pa.uint8()
        if self.precision == "pq":
            assert self.pq_bytes is not None
            return self.pq_bytes, pa.uint8()
        return self.dim, FLOATS[self.precision]

    def space(self, column: str) -> dict[str, Any]:
        if column != self.column:
            return {}
        return {"precision": self.precision, "sha256": self.artifact.sha256 if self.artifact else None}

    def build(self) -> "Quantize":
        return Quantize(self)


class Quantize(Operator[QuantizeConfig]):
    def __init__(self, config: QuantizeConfig) -> None:
        super().__init__(config)
        artifact = read_artifact(config.artifact, config.storage) if config.artifact else None
        self.codec = make_codec(config.precision, config.dim, artifact)

    def transform(self, batch: pa.Table) -> pa.Table:
        config = self.config
        [field] = config.fields(batch.schema)
        return derive(batch, config.source, field, self._encoded, stage=config.name)

    def _encoded(self, vectors_ND: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        codes = self.codec.encode(vectors_ND)
        return codes, _overflowed(codes)


def _overflowed(codes_NW: np.ndarray) -> dict[int, str]:
    if not np.issubdtype(codes_NW.dtype, np.floating):
        return {}
    bad = np.flatnonzero(~np.isfinite(codes_NW).all(1))
    return {int(index): f"a component does not fit {codes_NW.dtype}; store it as float32" for index in bad}
