"""Where a training is, as one safetensors file beside the table: no pickle, and known again by what it is of."""

import json
from pathlib import PurePosixPath

import numpy as np
import obstore
from obstore.exceptions import BaseError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from operators.storage.redact import reason_of, redact_uri
from operators.storage.stores import StorageOptions, object_store
from pipelines.training.head import TrainingState

_KEY = "pixlake"
_PARTS = ("tensors", "moments", "best")


def write_checkpoint(state: TrainingState, uri: str, storage: StorageOptions) -> None:
    """Put the state in place of the last one, whole. Raises `OSError` where storage fails."""
    tensors = {f"{part}/{name}": each for part in _PARTS for name, each in getattr(state, part).items()}
    about = {name: each for name, each in vars(state).items() if name not in _PARTS}
    data = save({name: np.ascontiguousarray(each) for name, each in tensors.items()}, {_KEY: json.dumps(about)})
    store, path = object_store(uri, storage)
    try:
        obstore.put(store, path, data)
    except BaseError as error:
        raise OSError(f"{redact_uri(uri)}: cannot write there: {reason_of(error)}") from None


def read_checkpoint(uri: str, storage: StorageOptions) -> TrainingState | None:
    """The state, or None where there is none that can be read: training then begins anew. Raises `OSError` where
    storage fails."""
    store, path = object_store(uri, storage)
    try:
        data = bytes(obstore.get(store, path).bytes())
    except FileNotFoundError:
        return None
    except BaseError as error:
        raise OSError(f"{redact_uri(uri)}: cannot be read: {reason_of(error)}") from None
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header["__metadata__"][_KEY])
        parts: dict[str, dict[str, np.ndarray]] = {part: {} for part in _PARTS}
        for name, each in load(data).items():
            path_of = PurePosixPath(name)
            parts[path_of.parts[0]][path_of.parts[1]] = each.copy()
        return TrainingState(**{**parts, **about})
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None


def drop_checkpoint(uri: str, storage: StorageOptions) -> None:
    """Remove the file, if it is there. Raises `OSError` where storage fails."""
    store, path = object_store(uri, storage)
    try:
        obstore.delete(store, path)
    except FileNotFoundError:
        return
    except BaseError as error:
        raise OSError(f"{redact_uri(uri)}: cannot be removed: {reason_of(error)}") from None
