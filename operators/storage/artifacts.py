"""Fitted artifacts that operators need, such as a PCA: safetensors files, found by URI and pinned by sha256."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import obstore
from obstore.exceptions import BaseError
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.numpy import load, save

from operators.base.errors import UserError, clean_message
from operators.storage.redact import reason_of, redact_uri
from operators.storage.stores import NO_OPTIONS, StorageOptions, object_store
from operators.storage.uris import split_uri

HEADER_KEY = "pixlake"
"""The one key of the file's header that holds all metadata: the format does not fix the order of several keys, and the
same artifact must be the same bytes."""


class ArtifactError(UserError):
    """An artifact is missing, is another file than the one recorded, or is not what is needed."""


class ArtifactRef(BaseModel):
    """One file, wherever it is copied to: the space records its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What was fitted, and on which vectors."""

    kind: str
    """`pca`, `head`, `int8`, `binary` or `pq`; `index` for the model of a vector index."""
    tensors: Mapping[str, np.ndarray]
    space: Mapping[str, Any]
    """Space record of the vectors that it was fitted on: it may be applied only to those."""
    rows: int
    """Vectors that it was fitted on."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was fitted, JSON-ready."""


def write_artifact(artifact: Artifact, folder: str, storage: StorageOptions = NO_OPTIONS) -> ArtifactRef:
    """Store the artifact in the folder (path or URI), named by its kind and content: the same artifact is the same
    file.

    Raises `OSError` where storage fails.
    """
    about = {"kind": artifact.kind, "space": artifact.space, "rows": artifact.rows, "settings": artifact.settings}
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in artifact.tensors.items()}
    data = save(tensors, {HEADER_KEY: json.dumps(about, sort_keys=True)})
    digest = hashlib.sha256(data).hexdigest()
    uri = f"{folder.rstrip('/')}/{artifact.kind}-{digest[:16]}.safetensors"
    store, path = object_store(uri, storage)
    try:
        obstore.put(store, path, data)
    except BaseError as error:
        raise OSError(f"{redact_uri(uri)}: cannot write there: {reason_of(error)}") from None
    return ArtifactRef(uri=uri, sha256=digest)


def find_artifact(uri: str, storage: StorageOptions = NO_OPTIONS) -> tuple[ArtifactRef, Artifact]:
    """The artifact at a path or URI, and the reference that pins it. Raises `ArtifactError`."""
    if redact_uri(uri) != uri:
        raise ArtifactError(
            f"artifact {redact_uri(uri)}: leave credentials and signatures out of its URI, which is stored with the "
            "column; they belong in storage.key and storage.secret, or in the environment"
        )
    scheme, _, path = split_uri(uri)
    # Workers, and later queries, stand in other folders.
    uri = os.path.abspath(os.path.expanduser(path)) if scheme == "file" else uri
    data = _read(uri, storage)
    return ArtifactRef(uri=uri, sha256=hashlib.sha256(data).hexdigest()), _parse(data, uri)


def list_artifacts(folder: str, kind: str, storage: StorageOptions = NO_OPTIONS) -> list[tuple[str, datetime]]:
    """(URI, time of writing) of each artifact of the kind in the folder, the newest first. Raises `ArtifactError`."""
    store, prefix = object_store(folder, storage)
    try:
        metas = obstore.list_with_delimiter(store, prefix=prefix or None)["objects"]
    except FileNotFoundError:
        return []
    except BaseError as error:
        raise ArtifactError(f"artifacts in {redact_uri(folder)}: cannot be listed: {reason_of(error)}") from None
    named = [(meta["path"].rpartition("/")[2], meta["last_modified"]) for meta in metas]
    found = [
        (f"{folder.rstrip('/')}/{name}", at) for name, at in named if re.fullmatch(rf"{kind}-\w+\.safetensors", name)
    ]
    return sorted(found, key=lambda each: each[1], reverse=True)


def locate_artifact(ref: ArtifactRef, folder: str, storage: StorageOptions = NO_OPTIONS) -> ArtifactRef:
    """The reference with the URI where the file is now: in `folder`, beside a table that may have been copied together
    with it, or else where it was recorded. Raises `ArtifactError` where it is in neither place."""
    name = ref.uri.rpartition("/")[2]
    for uri in (f"{folder.rstrip('/')}/{name}", ref.uri):
        if _is_there(uri, storage):
            return ref.model_copy(update={"uri": uri})
    raise ArtifactError(
        f"artifact {name}: is neither in {redact_uri(folder)} nor, as recorded, at {redact_uri(ref.uri)}; vectors "
        f"cannot be made or compared without it: copy the file (sha256 {ref.sha256}) into {redact_uri(folder)}"
    )


def read_artifact(ref: ArtifactRef, storage: StorageOptions = NO_OPTIONS) -> Artifact:
    """The artifact. Raises `ArtifactError` where the file is gone, or is not the recorded one."""
    return _parse(artifact_bytes(ref, storage), ref.uri)


def artifact_bytes(ref: ArtifactRef, storage: StorageOptions = NO_OPTIONS) -> bytes:
    """The file's bytes. Raises `ArtifactError` where the file is gone, or is not the recorded one."""
    data = _read(ref.uri, storage)
    found = hashlib.sha256(data).hexdigest()
    if found != ref.sha256:
        raise ArtifactError(
            f"artifact {redact_uri(ref.uri)}: its sha256 is {found}, recorded is {ref.sha256}; the file was replaced. "
            "Put the recorded one back"
        )
    return data


def _is_there(uri: str, storage: StorageOptions) -> bool:
    store, path = object_store(uri, storage)
    try:
        obstore.head(store, path)
    except FileNotFoundError:
        return False
    except BaseError as error:
        raise ArtifactError(f"artifact {redact_uri(uri)}: cannot be read: {reason_of(error)}") from None
    return True


def _read(uri: str, storage: StorageOptions) -> bytes:
    store, path = object_store(uri, storage)
    try:
        return bytes(obstore.get(store, path).bytes())
    except FileNotFoundError:
        raise ArtifactError(f"artifact {redact_uri(uri)}: no such file") from None
    except BaseError as error:
        raise ArtifactError(f"artifact {redact_uri(uri)}: cannot be read: {reason_of(error)}") from None


def _parse(data: bytes, uri: str) -> Artifact:
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header["__metadata__"][HEADER_KEY])
        return Artifact(tensors=load(data), **about)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"artifact {redact_uri(uri)}: is none of Pixlake's (`pixlake fit-pca`, `pixlake train-head` and "
            "`pixlake reduce` write them): "
            f"{clean_message(f'{type(error).__name__}: {error}')}"
        ) from error
