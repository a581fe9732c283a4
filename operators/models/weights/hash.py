"""The sha256 of a weights file, computed once per node as long as the file stays as it is."""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

from operators.models.weights.cache import cache_folder, locked

REMEMBERED_BYTES = 64 << 20
"""Files below this size are hashed each time: a tenth of a second at most."""
_SETTLED_S = 2.0
"""Seconds since a file's last change before its hash is remembered: another change within the resolution of its time
stamps would look the same, and 2 s is the coarsest in use."""


def sha256_of_file(path: str) -> str:
    """sha256 of the file, lower-case hex.

    That of a large safetensors file is remembered in the cache folder, for as long as device, inode, size and the times
    of the last change of content and inode are the same; the processes of a node that ask at once wait for the first.
    A pickle, which only its pinned sha256 makes safe to open, is hashed each time. Raises `OSError`.
    """
    if not path.endswith(".safetensors") or os.path.getsize(path) < REMEMBERED_BYTES:
        return _hashed(path)
    real = os.path.realpath(path)
    note = cache_folder() / "hashes" / f"{hashlib.sha256(real.encode()).hexdigest()}.json"
    with locked(note.with_suffix(".lock")):
        started, before = time.time(), _identity(real)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            remembered = json.loads(note.read_text())
            if remembered["file"] == before:
                return str(remembered["sha256"])
        digest = _hashed(real)
        if os.stat(real).st_ctime < started - _SETTLED_S and _identity(real) == before:
            with contextlib.suppress(OSError):
                write_json(note, {"path": real, "file": before, "sha256": digest})
        return digest


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write the file whole or not at all. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
        try:
            json.dump(content, file)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _hashed(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(path: str) -> list[int]:
    stat = os.stat(path)
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
