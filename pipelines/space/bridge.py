"""A linear map from the vectors of a new model to those of an old one, so that queries of the new model can search what
the old one has made. It loses something, and its record says how much."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from operators.base.errors import UserError
from operators.models.canaries import Canaries
from operators.models.spec import ModelDescription
from operators.normalize import l2_normalize
from operators.storage.artifacts import ArtifactRef, locate_artifact, read_artifact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.space.field import read_reductions, read_space, vector_columns
from pipelines.space.record import base_record, space_digest

BRIDGE_PREFIX = "pixlake.bridge."
"""Table metadata key of a record, before the bridge's name."""
KIND = "bridge"


class BridgeError(UserError):
    """A bridge is not there, or does not lead to the column that is searched."""


class BridgeLoss(BaseModel):
    """What a bridge loses, on rows that it was not fitted on and that have both vectors."""

    model_config = ConfigDict(frozen=True)

    recall: float
    """recall@k: the mean share of the nearest k by the new column that a search of the old column finds with the new
    vector sent through the bridge."""
    overlap: float
    """The same for a search of the old column with the row's own old vector: a bridge that maps without any error finds
    so much, and the rest of the loss is the old model's."""
    k: int
    queries: int
    cosine: float
    """Mean cosine of bridged new vectors to the old ones of the same rows."""
    rows: int
    """Vectors that the cosine is the mean of."""


class BridgeRecord(BaseModel):
    """A fitted bridge. Holds all that a query needs of the new model, whatever becomes of its column."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Literal["ridge", "orthogonal"]
    penalty: float
    """Of ridge: times the mean variance of the new vectors; 0 for orthogonal."""
    artifact: ArtifactRef
    space: dict[str, Any]
    """Space record of the new model's vectors."""
    model: ModelDescription
    canaries: Canaries | None
    to_digest: str
    """Digest of the space that it leads to: that of the old column, whatever its name is by now."""
    rows: int
    """Vectors that it was fitted on."""
    loss: BridgeLoss
    made_at: str


class QueryWay(Protocol):
    """From the vectors of a model's queries to a column of another space."""

    @property
    def space(self) -> dict[str, Any]:
        """Space record of the queries' vectors."""

    @property
    def model(self) -> ModelDescription:
        """What embeds the queries."""

    @property
    def canaries(self) -> Canaries | None: ...

    def bridged(self, vectors_ND: np.ndarray) -> np.ndarray:
        """(N, dim of the column) float32 of unit length, from (N, dim of the model)."""


@dataclass(frozen=True)
class Bridge:
    """A bridge ready for use, a `QueryWay`."""

    record: BridgeRecord
    mean_new: np.ndarray
    weights: np.ndarray
    """(new dim, old dim) float64."""
    mean_old: np.ndarray

    @property
    def space(self) -> dict[str, Any]:
        return self.record.space

    @property
    def model(self) -> ModelDescription:
        return self.record.model

    @property
    def canaries(self) -> Canaries | None:
        return self.record.canaries

    def bridged(self, vectors_ND: np.ndarray) -> np.ndarray:
        """(N, old dim) float32 of unit length, from (N, new dim)."""
        return l2_normalize(cross(vectors_ND, self.mean_new, self.weights, self.mean_old))


def cross(vectors_ND: np.ndarray, mean_new: np.ndarray, weights: np.ndarray, mean_old: np.ndarray) -> np.ndarray:
    """(N, old dim) float32: the map itself, computed in float64."""
    mapped: np.ndarray = (vectors_ND.astype(np.float64) - mean_new) @ weights + mean_old
    return mapped.astype(np.float32)


def read_bridges(metadata: dict[str, str]) -> dict[str, BridgeRecord]:
    """Name -> record of the bridges in a table's metadata; those that this Pixlake cannot read are left out."""
    found = {}
    for key, value in metadata.items():
        if key.startswith(BRIDGE_PREFIX):
            try:
                found[key.removeprefix(BRIDGE_PREFIX)] = BridgeRecord.model_validate_json(value)
            except ValidationError:
                continue
    return found


def open_bridge(
    table: str, metadata: dict[str, str], name: str, artifacts: str, storage: StorageOptions = NO_OPTIONS
) -> Bridge:
    """The bridge of that name; its artifact is looked for in the folder `artifacts` before the place where it was
    recorded. Raises `BridgeError` where there is none, `ArtifactError` where its file is gone or another one."""
    bridges = read_bridges(metadata)
    if name not in bridges:
        there = f"there: {', '.join(sorted(bridges))}" if bridges else "it has none; `pixlake swap` fits one"
        raise BridgeError(f"table {table}: no bridge {name!r}; {there}")
    record = bridges[name]
    tensors = read_artifact(locate_artifact(record.artifact, artifacts, storage), storage).tensors
    return Bridge(record, tensors["mean_new"], tensors["weights"], tensors["mean_old"])


def bridged_column(table: str, schema: pa.Schema, record: BridgeRecord, asked: str | None) -> str:
    """The column to search over the bridge: the one asked for, which may be derived from the one that it leads to, or
    that one. Raises `BridgeError` where the bridge leads elsewhere, or to nothing that the table still has."""
    leads_to = {}
    for name in vector_columns(schema):
        space = read_space(schema.field(name), table)[0]
        leads_to[name] = space_digest(base_record(space)) == record.to_digest
    if asked is not None and asked in leads_to:
        if not leads_to[asked]:
            raise BridgeError(
                f"table {table}: the bridge {record.name} does not lead to {asked}, whose vectors are of another "
                f"space; it leads to: {', '.join(name for name, right in leads_to.items() if right) or 'none there'}"
            )
        return asked
    if asked is not None:
        raise BridgeError(f"table {table}: no vector column {asked!r}; there: {', '.join(leads_to)}")
    derived = read_reductions(schema)
    for name, right in sorted(leads_to.items(), key=lambda each: each[0] in derived):
        if right:
            return name
    raise BridgeError(
        f"table {table}: the column that the bridge {record.name} leads to is no longer there; search without --bridge"
    )
