"""Weights in an object store: streamed once per node into Pixlake's cache, hashed on the way."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import obstore

from operators.models.spec import ModelError, ModelSpec
from operators.models.weights.cache import cache_folder, locked
from operators.models.weights.hash import sha256_of_file, write_json
from operators.storage.redact import reason_of, redact
from operators.storage.stores import ObjectStore, StorageError, StorageOptions, object_store

_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 4
"""Parts that are fetched at once: Amazon's advice for S3 (byte-range fetches), where one connection does not fill a
network. On one machine with a SeaweedFS it is neither faster nor slower: 110 to 150 MiB/s, the server included."""
_PART_S = 120.0
_LEFT_BEHIND_S = 86_400.0
"""Age at which a `.part` file must be a killed process's."""


def object_file(spec: ModelSpec, uri: str, storage: StorageOptions, sha256: str | None) -> tuple[str, str]:
    """(path on this node, sha256) of an `s3:`, `gs:` or `az:` object.

    With `sha256`, a cached file with that content is used without any request. Otherwise the object's etag is asked
    for, and its bytes are read unless they are those of the last time. The sha256 returned is that of the content: the
    caller compares. Raises `ModelError`.
    """
    suffix = re.search(r"\.\w{1,16}$", uri)
    name = "weights" + (suffix[0] if suffix else "")
    if sha256 and (path := _cached(sha256, name)):
        return path, sha256
    note = cache_folder() / "objects" / f"{hashlib.sha256(uri.encode()).hexdigest()}.json"
    try:
        with locked(note.with_suffix(".lock")):
            return _current(uri, storage, note, name)
    except (StorageError, obstore.exceptions.BaseError, OSError, ValueError) as error:
        raise _explained(spec, uri, error) from error


def _cached(sha256: str, name: str) -> str | None:
    path = _content_path(sha256, name)
    return str(path) if path.is_file() and sha256_of_file(str(path)) == sha256 else None


def _content_path(sha256: str, name: str) -> Path:
    return cache_folder() / "sha256" / sha256 / name


def _current(uri: str, storage: StorageOptions, note: Path, name: str) -> tuple[str, str]:
    store, key = object_store(uri, storage, max_retries=4, timeout_s=_PART_S)
    meta = obstore.head(store, key)
    version = {"uri": uri, "etag": meta["e_tag"], "size": meta["size"], "modified": meta["last_modified"].isoformat()}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(note.read_text())
        if known["object"] == version and (path := _cached(known["sha256"], name)):
            return path, str(known["sha256"])
    folder = cache_folder() / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    _sweep()
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
        try:
            digest = _streamed(store, key, meta["size"], meta["e_tag"], file)
            path_of_content = _content_path(digest, name)
            path_of_content.parent.mkdir(exist_ok=True)
            os.replace(file.name, path_of_content)
        except BaseException:
            os.unlink(file.name)
            raise
    write_json(note, {"object": version, "sha256": digest})
    return str(path_of_content), digest


def _sweep() -> None:
    for left in cache_folder().glob("*/*.part"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - _LEFT_BEHIND_S:
                left.unlink()


def _streamed(store: ObjectStore, key: str, size: int, etag: str | None, file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for part in _parts(store, key, size, etag):
        digest.update(part)
        file.write(part)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


def _parts(store: ObjectStore, key: str, size: int, etag: str | None) -> Iterator[bytes]:
    """The object in order, a few parts being fetched at once."""

    def read(start: int) -> bytes:
        result = obstore.get(store, key, options={"range": (start, min(start + _PART_BYTES, size))})
        if result.meta["e_tag"] != etag or result.meta["size"] != size:
            raise ValueError("it was replaced while it was being read; start again")
        return bytes(result.bytes())

    with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
        waiting: deque[Future[bytes]] = deque()
        for start in range(0, size, _PART_BYTES):
            waiting.append(pool.submit(read, start))
            if len(waiting) == _PARTS_AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _explained(spec: ModelSpec, uri: str, error: Exception) -> ModelError:
    start = f"model {spec.name!r}: {redact(uri)}"
    if isinstance(error, FileNotFoundError | obstore.exceptions.NotFoundError):
        return ModelError(f"{start} is not there; check bucket and key")
    if isinstance(error, obstore.exceptions.PermissionDeniedError | obstore.exceptions.UnauthenticatedError):
        return ModelError(
            f"{start} may not be read with these credentials. Every node reads it: check the storage options, or the "
            "credentials in each node's environment"
        )
    if isinstance(error, OSError) and error.errno:
        return ModelError(
            f"{start} cannot be stored in {cache_folder()}: {os.strerror(error.errno)}. Make room there, or set "
            "XDG_CACHE_HOME to another folder"
        )
    reason = reason_of(str(error).partition("\n")[0])
    return ModelError(
        f"{start} could not be read ({reason}). Check the network and the storage options; a copy in this node's cache "
        "is used without asking where its sha256 is pinned (--set model.sha256=…)"
    )
