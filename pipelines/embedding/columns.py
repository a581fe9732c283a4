"""The vector columns of a run: which model fills each, what is derived from it, and what a user may choose."""

from collections.abc import Sequence
from dataclasses import dataclass

from operators.api.options import NO_API_OPTIONS, ApiOptions
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.canaries import Canaries
from operators.models.detectors.spec import DetectorDescription
from operators.models.spec import Backend, ModelDescription, Precision
from operators.normalize import NormalizeOptions
from operators.regions.options import RegionOptions
from pipelines.space.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class VectorColumn:
    """A column of the table and the model that fills it."""

    name: str
    model: ModelDescription
    precision: Precision
    emulate: bool = False
    """Whether a CPU without instructions for the precision may emulate it."""
    backend: Backend = "torch"
    backend_here: str | None = None
    """What ran it on the machine that starts the run; None where that did not run it."""
    canaries: Canaries | None = None
    """Vectors of the canary images by this model; None where they are not checked."""
    forward_s: float | None = None
    """CPU seconds of the forward pass on one image, where it was resolved; None where that was not measured."""


@dataclass(frozen=True, kw_only=True)
class DerivedColumn:
    """A column of the table that is derived from a model's column."""

    name: str
    reduction: Reduction


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may choose about each operator, the models apart."""

    fetch: FetchOptions
    decode: DecodeOptions
    normalize: NormalizeOptions
    regions: RegionOptions | None = None
    detector: DetectorDescription | None = None
    """The detector, where one finds the regions."""
    api: ApiOptions = NO_API_OPTIONS
    """Settings for models that are asked over the network."""


def stored_columns(columns: Sequence[VectorColumn], derived: Sequence[DerivedColumn], store_base: bool) -> list[str]:
    """The vector columns of the table, each base column before those derived from it."""
    stored = []
    for column in columns:
        made = [each.name for each in derived if each.reduction.base == column.name]
        stored += made if made and not store_base else [column.name, *made]
    return stored
