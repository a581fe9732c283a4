"""Projects vectors onto their principal components, by a PCA that was fitted on vectors of the same space."""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.base.operator import Operator
from operators.storage.artifacts import ArtifactRef, read_artifact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.vectors.apply import FromVectorsConfig, derive, derived_field


def project(
    vectors_ND: np.ndarray, mean_D: np.ndarray, components_KD: np.ndarray, scale_K: np.ndarray | None = None
) -> np.ndarray:
    """(N, K) float32: the centred vectors along each component, times `scale_K` to whiten them.

    Computed in float64: a product's last bits depend on how many rows are multiplied at once, and rounded to float32
    they almost never show, so a row gets the same vector in an embed run, in `reduce` and in a query.
    """
    projected: np.ndarray = (vectors_ND.astype(np.float64) - mean_D) @ components_KD.T
    return (projected if scale_K is None else projected * scale_K).astype(np.float32)


class PcaConfig(FromVectorsConfig):
    """Projects the vectors of `source` onto the first `dim` components, as float32 in `column`."""

    name: ClassVar[str] = "pca"

    artifact: ArtifactRef
    dim: int
    whiten: bool
    """Whether each component is brought to unit variance, as measured on the rows that the PCA was fitted on."""
    column: str
    storage: StorageOptions = NO_OPTIONS

    def fields(self, schema: pa.Schema) -> list[pa.Field]:
        return [derived_field(schema, self.source, self.column, self.dim, pa.float32())]

    def space(self, column: str) -> dict[str, Any]:
        if column != self.column:
            return {}
        return {"sha256": self.artifact.sha256, "dim": self.dim, "whiten": self.whiten}

    def build(self) -> "Pca":
        return Pca(self)


class Pca(Operator[PcaConfig]):
    def __init__(self, config: PcaConfig) -> None:
        super().__init__(config)
        tensors = read_artifact(config.artifact, config.storage).tensors
        self.mean, self.components = tensors["mean"], tensors["components"][: config.dim]
        self.scale = 1 / np.sqrt(tensors["explained_variance"][: config.dim]) if config.whiten else None

    def transform(self, batch: pa.Table) -> pa.Table:
        config = self.config
        [field] = config.fields(batch.schema)
        return derive(batch, config.source, field, self._projected, stage=config.name)

    def _projected(self, vectors_ND: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        return project(vectors_ND, self.mean, self.components, self.scale), {}
