"""Pixlake's own folder of weights on a node, and the locks under which its processes fill it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock


def cache_folder() -> Path:
    """`~/.cache/pixlake/weights`, or below `XDG_CACHE_HOME`. It need not exist, and may be deleted between runs.

    A user without a home folder, as a container's may be, has one in which nothing can be written.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        cache = Path(os.devnull)
    return cache / "pixlake" / "weights"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file, one process at a time on this machine, or on all machines where the folder's file system has
    locks that reach so far. Where it cannot be made (a read-only folder) nothing can be written either, and there is no
    lock."""
    lock = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()
