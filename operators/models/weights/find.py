"""Weights files: found, hashed, checked. safetensors by default; a pickle only with a pin."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from operators.base.errors import clean_message
from operators.models.families import DETECTORS
from operators.models.spec import HUB_SCHEME, ModelError, ModelSpec
from operators.models.weights.hash import sha256_of_file
from operators.models.weights.objects import object_file
from operators.storage.stores import StorageOptions
from operators.storage.uris import OBJECT_SCHEMES, StorageError, split_uri


class LocalWeights(NamedTuple):
    """A weights file on this node, its content checked."""

    path: str
    sha256: str
    """sha256 of the file, lower-case hex."""
    uri: str
    """URI under which every node finds the same file: a hub's commit in place of its branch."""


def find_weights(spec: ModelSpec, uri: str, storage: StorageOptions, sha256: str | None = None) -> LocalWeights:
    """The weights behind a local path, `file:`, `s3:`, `gs:`, `az:` or `hf://OWNER/NAME/FILENAME[@REVISION]`.

    The driver leaves `sha256` out; then the file must match the user's pin, `spec.sha256`, if any. Workers give the
    plan's sha256 and uri, and accept no other file. A file that is not `.safetensors` is a pickle and needs the user's
    pin. Raises `ModelError`.
    """
    try:
        path, found, pinned_uri = _on_this_node(spec, uri, storage, sha256 or (spec.sha256 or "").lower() or None)
    except OSError as error:
        raise ModelError(f"model {spec.name!r}: {error.filename or uri} cannot be read: {error.strerror}") from error
    here = path if path == pinned_uri else f"{pinned_uri} (here {path})"
    if sha256 is not None and found != sha256:
        raise ModelError(
            f"model {spec.name!r}: this node has weights with sha256 {found}, the run was planned with "
            f"{sha256}; give every node the same file: {here}"
        )
    if spec.sha256 and found != spec.sha256.lower():
        raise ModelError(f"model {spec.name!r}: {here} has sha256 {found}, but {spec.sha256} is pinned")
    if not path.endswith(".safetensors") and not spec.sha256:
        raise ModelError(
            f"model {spec.name!r}: {here} is a pickle, which may run code when opened. Use a .safetensors file, "
            f"or pin this file, if you trust it, with --set {_pin_key(spec)}={found}"
        )
    _check_whole(spec, path, here)
    return LocalWeights(path, found, pinned_uri)


def _pin_key(spec: ModelSpec) -> str:
    return "regions.sha256" if spec.family in DETECTORS else "model.sha256"


def _check_whole(spec: ModelSpec, path: str, name: str) -> None:
    """Raises `ModelError` where a safetensors file does not fit its header, which says how long it must be."""
    if path.endswith(".safetensors"):
        try:
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"model {spec.name!r}: {name} is truncated or not safetensors ({clean_message(str(error))}); "
                "download or copy it again"
            ) from error


def find_first_weights(spec: ModelSpec, uris: Sequence[str], storage: StorageOptions) -> LocalWeights:
    """The first of several hub files that exists, for a repository whose file names are not known: safetensors first.

    Raises the first file's `ModelError` when there is none.
    """
    from operators.models.weights.hub import HubUnreachable, NotOnHub, in_cache

    errors: list[ModelError] = []
    for uri in uris:
        # A hub that has not answered for one file is not waited for again.
        if any(isinstance(each, HubUnreachable) for each in errors) and not in_cache(spec, uri):
            continue
        try:
            return find_weights(spec, uri, storage)
        except (NotOnHub, HubUnreachable) as error:
            errors.append(error)
    raise errors[0]


def _on_this_node(spec: ModelSpec, uri: str, storage: StorageOptions, sha256: str | None) -> LocalWeights:
    if uri.startswith(HUB_SCHEME):
        # Here and not at the top: huggingface_hub takes 0.1 s to import.
        from operators.models.weights.hub import hub_file

        path, uri = hub_file(spec, uri)
        return LocalWeights(path, sha256_of_file(path), uri)
    try:
        scheme, _, key = split_uri(uri)
    except StorageError as error:
        raise ModelError(f"model {spec.name!r}: {error}") from error
    if scheme in OBJECT_SCHEMES:
        return LocalWeights(*object_file(spec, uri, storage, sha256), uri)
    if scheme != "file":
        raise ModelError(
            f"model {spec.name!r}: weights cannot be read from {scheme}://. Use a path, s3://, gs://, az:// or "
            "hf://OWNER/NAME/FILENAME"
        )
    path = os.path.abspath(os.path.expanduser(key))
    if not os.path.isfile(path):
        raise ModelError(f"model {spec.name!r}: weights file {path} is not there")
    return LocalWeights(path, sha256_of_file(path), path)


def check_unchanged(spec: ModelSpec, recorded: str, digest: str) -> None:
    """Raises `ModelError` when a worker drew random weights with another sha256 than the driver recorded in the
    space."""
    if digest != recorded:
        raise ModelError(
            f"model {spec.name!r}: on this node seed {spec.seed} gives weights with sha256 "
            f"{digest}, the run was planned with {recorded}; install the same versions of torch and "
            "of the model's library on every node"
        )
