"""Where a training is, as one safetensors file: no pickle, and known again by its name."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError

from operators.storage.redact import reason_of, redact_uri
from operators.storage.stores import NO_OPTIONS, StorageOptions, object_store

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "pixlake"
_PARTS = ("tensors", "moments", "best")


@dataclass(frozen=True)
class CheckpointPlace:
    """The file of one training: the name holds a digest of its recipe and data."""

    uri: str
    storage: StorageOptions = NO_OPTIONS


@dataclass
class TrainingState:
    """Where a training is. All of it is in a checkpoint; all tensors are on the CPU."""

    step: int
    """Steps that are done."""
    tensors: dict[str, "Tensor"]
    """Parameters that are trained, and the module's buffers, by their names in the module."""
    moments: dict[str, "Tensor"]
    """`mean.NAME` and `square.NAME`, of AdamW."""
    best: dict[str, "Tensor"]
    """The tensors with the lowest score."""
    best_score: float
    best_step: int
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry for each look: `step`, the figures of the look and, after the first, `loss`, that of the last step."""


def write_checkpoint(state: TrainingState, place: CheckpointPlace) -> None:
    """Put the state in place of the last one, whole. Raises `OSError` where storage fails."""
    import torch
    from safetensors.torch import save

    # A copy each: the format refuses tensors that share their memory, as the best do with the last at a look.
    parts = {f"{part}/{name}": each for part in _PARTS for name, each in getattr(state, part).items()}
    tensors = {name: each.clone(memory_format=torch.contiguous_format) for name, each in parts.items()}
    about = {name: each for name, each in vars(state).items() if name not in _PARTS}
    data = save(tensors, {_KEY: json.dumps(about)})
    store, path = object_store(place.uri, place.storage)
    try:
        obstore.put(store, path, data)
    except BaseError as error:
        raise OSError(f"{redact_uri(place.uri)}: cannot write there: {reason_of(error)}") from None


def read_checkpoint(place: CheckpointPlace) -> TrainingState | None:
    """The state, or None where there is none that can be read: training then begins anew. Raises `OSError` where
    storage fails."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    store, path = object_store(place.uri, place.storage)
    try:
        data = bytes(obstore.get(store, path).bytes())
    except FileNotFoundError:
        return None
    except BaseError as error:
        raise OSError(f"{redact_uri(place.uri)}: cannot be read: {reason_of(error)}") from None
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header["__metadata__"][_KEY])
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        for name, each in load(data).items():
            part, _, of = name.partition("/")
            parts[part][of] = each
        return TrainingState(**{**parts, **about})
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None


def drop_checkpoint(place: CheckpointPlace) -> None:
    """Remove the file, if it is there. Raises `OSError` where storage fails."""
    store, path = object_store(place.uri, place.storage)
    try:
        obstore.delete(store, path)
    except FileNotFoundError:
        return
    except BaseError as error:
        raise OSError(f"{redact_uri(place.uri)}: cannot be removed: {reason_of(error)}") from None
