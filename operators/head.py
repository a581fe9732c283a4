"""Takes vectors through a head that `pixlake train-head` trained on vectors of the same space."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.base.operator import Operator
from operators.storage.artifacts import ArtifactRef, read_artifact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.vectors.apply import FromVectorsConfig, derive, derived_field


def apply_head(vectors_ND: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N, K) float32: the vectors without `mean` (D), times `weight` (K, D); with a hidden layer of H units also
    `output` (K, H) times the positive part of `hidden` (H, D) times them plus `bias` (H).

    Computed in float64, as a PCA is, so that a row gets the same vector alone, in a block and in a query.
    """
    centred_ND = vectors_ND.astype(np.float64) - tensors["mean"]
    out = centred_ND @ tensors["weight"].astype(np.float64).T
    if "hidden" in tensors:
        units_NH = np.maximum(centred_ND @ tensors["hidden"].astype(np.float64).T + tensors["bias"], 0.0)
        out = out + units_NH @ tensors["output"].astype(np.float64).T
    found: np.ndarray = out.astype(np.float32)
    return found


class HeadConfig(FromVectorsConfig):
    """Takes the vectors of `source` through the head to `dim` numbers, as float32 in `column`."""

    name: ClassVar[str] = "head"

    artifact: ArtifactRef
    dim: int
    column: str
    storage: StorageOptions = NO_OPTIONS

    def fields(self, schema: pa.Schema) -> list[pa.Field]:
        return [derived_field(schema, self.source, self.column, self.dim, pa.float32())]

    def space(self, column: str) -> dict[str, Any]:
        return {"sha256": self.artifact.sha256, "dim": self.dim} if column == self.column else {}

    def build(self) -> "Head":
        return Head(self)


class Head(Operator[HeadConfig]):
    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.tensors = read_artifact(config.artifact, config.storage).tensors

    def transform(self, batch: pa.Table) -> pa.Table:
        config = self.config
        [field] = config.fields(batch.schema)
        return derive(batch, config.source, field, self._applied, stage=config.name)

    def _applied(self, vectors_ND: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        return apply_head(vectors_ND, self.tensors), {}
