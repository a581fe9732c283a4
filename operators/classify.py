"""Says of vectors which of some classes they are of, by class vectors of words or by a linear probe."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from operators.base.operator import Operator
from operators.storage.artifacts import Artifact, ArtifactRef, read_artifact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.vectors.apply import FromVectorsConfig, attach, value_field
from operators.vectors.class_scores import LinearClasses, best_class


class ClassifyVectorsConfig(FromVectorsConfig):
    """Stores the name of the most probable class in each of the columns `label`, null where its probability is under
    `threshold`; that probability in each of the columns `score`; and how far the next class is below it in each of the
    columns `margin`."""

    name: ClassVar[str] = "classify"

    artifact: ArtifactRef
    threshold: float = 0.0
    label: tuple[str, ...]
    score: tuple[str, ...]
    margin: tuple[str, ...]
    storage: StorageOptions = NO_OPTIONS

    def fields(self, schema: pa.Schema) -> list[pa.Field]:
        kinds = {
            **dict.fromkeys(self.label, pa.string()),
            **dict.fromkeys((*self.score, *self.margin), pa.float32()),
        }
        return [value_field(schema, self.source, name, kind) for name, kind in kinds.items()]

    def build(self) -> "Classify":
        return Classify(self)


def linear_classes(artifact: Artifact) -> LinearClasses:
    """The classifier that an artifact of kind `zero_shot` or `probe` holds."""
    tensors = artifact.tensors
    return LinearClasses(
        weights=tensors["weights"], bias=tensors["bias"], scale=1 / float(artifact.settings["temperature"])
    )


class Classify(Operator[ClassifyVectorsConfig]):
    def __init__(self, config: ClassifyVectorsConfig) -> None:
        super().__init__(config)
        artifact = read_artifact(config.artifact, config.storage)
        self.names, self.classes = pa.array(artifact.settings["classes"], pa.string()), linear_classes(artifact)

    def transform(self, batch: pa.Table) -> pa.Table:
        return attach(batch, self.config.source, self.config.fields(batch.schema), self._classified)

    def _classified(self, vectors_ND: np.ndarray) -> Sequence[pa.Array]:
        config = self.config
        best, score, margin = best_class(self.classes.probabilities(vectors_ND))
        # A vector of zeros is of no class.
        nothing = np.isnan(score)
        label = self.names.take(pa.array(best, mask=nothing | (score < config.threshold)))
        scores, margins = pa.array(score, mask=nothing), pa.array(margin, mask=nothing)
        return [*[label] * len(config.label), *[scores] * len(config.score), *[margins] * len(config.margin)]
