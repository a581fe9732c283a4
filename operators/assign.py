"""Assigns vectors to the nearest of the centres that were fitted on vectors of the same space."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from operators.base.operator import Operator
from operators.storage.artifacts import ArtifactRef, read_artifact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.vectors.apply import FromVectorsConfig, attach, value_field
from operators.vectors.spherical_kmeans import nearest_centre

CENTRES = "centres"
"""Name of the tensor, (K, D) float32 of unit length."""


class AssignConfig(FromVectorsConfig):
    """Stores the number of the nearest centre, int32, in each of the columns `cluster`, and the vector's cosine to it,
    float32, in each of the columns `cosine`."""

    name: ClassVar[str] = "assign"

    artifact: ArtifactRef
    cluster: tuple[str, ...]
    cosine: tuple[str, ...]
    storage: StorageOptions = NO_OPTIONS

    def fields(self, schema: pa.Schema) -> list[pa.Field]:
        kinds = {**dict.fromkeys(self.cluster, pa.int32()), **dict.fromkeys(self.cosine, pa.float32())}
        return [value_field(schema, self.source, name, kind) for name, kind in kinds.items()]

    def build(self) -> "Assign":
        return Assign(self)


class Assign(Operator[AssignConfig]):
    def __init__(self, config: AssignConfig) -> None:
        super().__init__(config)
        self.centres = read_artifact(config.artifact, config.storage).tensors[CENTRES]

    def transform(self, batch: pa.Table) -> pa.Table:
        return attach(batch, self.config.source, self.config.fields(batch.schema), self._assigned)

    def _assigned(self, vectors_ND: np.ndarray) -> Sequence[pa.Array]:
        nearest, cosines = nearest_centre(vectors_ND, self.centres)
        # A vector of zeros is near to nothing.
        nothing = np.isnan(cosines)
        clusters, cosine = pa.array(nearest, mask=nothing), pa.array(cosines, mask=nothing)
        return [*[clusters] * len(self.config.cluster), *[cosine] * len(self.config.cosine)]
