"""What this node has resolved before: asked again, it answers after a look at the weights, and imports no library of
models."""

import contextlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from operators.models.backends.cache import key_of
from operators.models.backends.choose import CONVERTIBLE
from operators.models.backends.instructions import cpu
from operators.models.canaries import Canaries
from operators.models.runtime import Runtime
from operators.models.spec import HUB_SCHEME, ModelDescription, ModelError, ModelSpec
from operators.models.weights.cache import cache_folder
from operators.models.weights.find import LocalWeights, find_weights
from operators.models.weights.hash import write_json
from operators.models.weights.packaged import packaged_weights
from operators.storage.stores import StorageOptions


class Known(NamedTuple):
    """A model as it was resolved here."""

    description: ModelDescription
    canaries: Canaries | None
    forward_s: float | None
    """CPU seconds of the forward pass on one image."""


def recall(spec: ModelSpec, runtime: Runtime, *, canaries: bool, patches: bool) -> Known | None:
    """What was remembered of the same question, on the same CPU, by the same releases, where the weights are the same
    bytes today; else None."""
    note = _note(spec, runtime, canaries=canaries, patches=patches)
    if note is None:
        return None
    try:
        found = json.loads(note.read_text())
        description = ModelDescription.model_validate(found["description"])
        recorded = Canaries.model_validate(found["canaries"]) if found["canaries"] else None
        known = Known(description, recorded, found["forward_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        weights = _weights_now(description, runtime.storage)
    except ModelError:
        # Resolving it says what is wrong, and what to do.
        return None
    if weights is None:
        return known
    if weights.sha256 != description.weights_sha256:
        return None
    uri = weights.uri if description.weights_uri else None
    return known._replace(description=description.model_copy(update={"weights_uri": uri}))


def remember(spec: ModelSpec, runtime: Runtime, known: Known, *, canaries: bool, patches: bool) -> None:
    """Keep an answer for `recall`, where the cache can be written to: one that saves the process which resolves."""
    note = _note(spec, runtime, canaries=canaries, patches=patches)
    recorded = known.canaries.model_dump(mode="json") if known.canaries else None
    if note is None or (known.canaries is not None and known.canaries.backend == "torch"):
        # Where torch runs the model, the process that resolves it loads it meanwhile, and goes on to embed with it.
        return
    content: dict[str, object] = {
        "description": known.description.model_dump(mode="json"),
        "canaries": recorded,
        "forward_s": known.forward_s,
    }
    with contextlib.suppress(OSError):
        write_json(note, content)


def _note(spec: ModelSpec, runtime: Runtime, **asked: bool) -> Path | None:
    """The file; None for what is not remembered: on GPUs, whose names only torch knows, and models whose configuration
    lies in a folder or repository, which may change."""
    elsewhere = spec.family == "saved" or spec.architecture.startswith(("hf-hub:", "local-"))
    if runtime.device != "cpu" or spec.family not in CONVERTIBLE or elsewhere:
        return None
    question: dict[str, Any] = {"spec": spec.model_dump(mode="json"), "cpu": cpu(), **asked}
    question |= {"backend": runtime.backend, "precision": runtime.precision}
    return cache_folder() / "known" / f"{key_of(question)}.json"


def _weights_now(description: ModelDescription, storage: StorageOptions) -> LocalWeights | None:
    """The weights under the name that was asked for, as they are today; None for random ones. Raises `ModelError`."""
    spec, uri = description.spec, description.weights_uri
    if spec.seed is not None:
        return None
    if uri is None:
        return packaged_weights(spec)
    if spec.weights is None and uri.startswith(HUB_SCHEME):
        # A library's own name means the branch, which may have another commit by now.
        uri = uri.rpartition("@")[0]
    return find_weights(spec, spec.weights or uri, storage)
