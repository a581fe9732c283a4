"""Converted networks in this node's cache: by what they were made from, whole or not at all, checked when opened."""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from operators.models.backends.instructions import cpu
from operators.models.backends.openvino import openvino
from operators.models.canaries import library_versions
from operators.models.spec import ModelDescription, Precision
from operators.models.weights.cache import cache_folder, locked

NETWORK = "network.xml"
ENTRY = "entry.json"
_LEFT_BEHIND_S = 86_400.0
"""Age at which a `.part` folder must be a killed process's."""


class Refused(Exception):
    """This network was tried, and cannot be used converted; the message says why."""


def key_of(content: dict[str, Any]) -> str:
    """sha256, hex, of what something in the cache was made from, and of the code that made it: releases of libraries,
    and our own, whose files are read rather than a number kept that someone would have to raise."""
    made_by = {"versions": library_versions("openvino"), "code": _code_digest()}
    return hashlib.sha256(json.dumps(content | made_by, sort_keys=True).encode()).hexdigest()


def entry_folder(description: ModelDescription, precision: Precision) -> Path:
    """The folder of a network that computes in `precision`, which need not be there. Where the weights lie and what the
    user calls the model make no difference."""
    names: Any = {"weights_uri": True, "spec": {"name", "weights", "sha256"}}
    model = description.model_dump(mode="json", exclude=names)
    # In float32 it is the same file for every CPU; what a reduced precision gives, or refuses, is one CPU's.
    on = None if precision == "float32" else cpu()
    return cache_folder() / "converted" / key_of({"model": model, "precision": precision, "cpu": on})


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Held by the process of this node that looks for an entry, and makes it."""
    with locked(folder.with_suffix(".lock")):
        yield


def find(folder: Path) -> Path | None:
    """The network's path; None where there is none, or another content than was written. Raises `Refused`."""
    try:
        entry = json.loads((folder / ENTRY).read_text())
        if entry["refused"] is not None:
            raise Refused(entry["refused"])
        if entry["digest"] == _digest(folder):
            return folder / NETWORK
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def store(folder: Path, network: Any, refused: str | None = None) -> None:
    """Write an entry, in place of what is there: a network, or (None) why there is none. Raises `OSError`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    part = folder.with_suffix(f".{uuid.uuid4().hex}.part")
    part.mkdir()
    try:
        if network is not None:
            openvino().save_model(network, part / NETWORK, compress_to_fp16=False)
        digest = None if network is None else _digest(part)
        (part / ENTRY).write_text(json.dumps({"refused": refused, "digest": digest}))
        if folder.exists():
            os.rename(folder, part / "before")
        os.rename(part, folder)
        shutil.rmtree(folder / "before", ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@functools.cache
def _code_digest() -> str:
    """sha256, hex, over all of ours that makes pixels and networks: forty files, 2 ms."""
    digest = hashlib.sha256()
    models = Path(__file__).parents[1]
    for path in sorted([*models.rglob("*.py"), *(models.parent / "pixels").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(folder: Path) -> str:
    """xxh3-128 of the network's two files: 0.05 s for 350 MB, in every process that loads it."""
    digest = xxhash.xxh3_128()
    for path in (folder / NETWORK, (folder / NETWORK).with_suffix(".bin")):
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            while part := file.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()


def _sweep(folder: Path) -> None:
    for left in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - _LEFT_BEHIND_S:
                shutil.rmtree(left)
