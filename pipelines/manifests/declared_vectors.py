"""Vectors that something else made: what a user says of them, as a model and as the beginning of a space."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from operators.models.spec import ModelDescription, ModelSpec, Precision
from operators.pixels.preprocess import Preprocess

IMPORTED = "imported"
"""The family of models of which Pixlake knows what a user said: their vectors are compared, never computed."""


class VectorsConfig(BaseModel):
    """What ready vectors are. Vectors that differ in any of it never stand in one column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    """Any label: the model that made them, and how it was used."""
    weights_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    precision: Precision | None = None

    def record(self, dim: int) -> dict[str, Any]:
        """What stands in the space in place of all that Pixlake's own models record."""
        return {"family": IMPORTED, **self.model_dump(mode="json"), "dim": dim}

    def description(self, dim: int) -> ModelDescription:
        """No image has been seen: the preprocessing is of 0 x 0 pixels, and words cannot be embedded."""
        return ModelDescription(
            spec=ModelSpec(name=self.model, family=IMPORTED, architecture=self.model, sha256=self.weights_sha256),
            dim=dim,
            preprocess=Preprocess.square_pixels(0, "squash"),
            network=self.model,
            weights_sha256=self.weights_sha256 or "",
            text=False,
            num_parameters=0,
        )
