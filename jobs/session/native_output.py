"""Keeps what native libraries write to file descriptor 2 off the user's terminal; Python's own stderr stays."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from jobs.session import watched


@contextlib.contextmanager
def hide_native_output() -> Iterator[None]:
    """Hide fd 2: Ray's C++ core logs straight to it, whatever Python's logging says. Nothing else in the process does
    so. A parent that watches this process keeps the last lines."""
    sys.stderr.flush()
    terminal = os.dup(2)
    before = sys.stderr
    kept = watched.native_output()
    nowhere = os.open(os.devnull, os.O_WRONLY) if kept is None else os.dup(kept)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1)
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = before
        os.dup2(terminal, 2)
        os.close(terminal)


@contextlib.contextmanager
def kept_native_output() -> Iterator[Callable[[], str]]:
    """Gives a function for what has been written to fd 2 since; afterwards it is passed on to where it was going. For
    work that starts no process which outlives it."""
    before = os.dup(2)
    kept = os.memfd_create("pixlake-native-output")
    os.dup2(kept, 2)

    def text() -> str:
        return os.pread(kept, os.fstat(kept).st_size, 0).decode(errors="replace")

    try:
        yield text
    finally:
        os.dup2(before, 2)
        os.write(2, text().encode())
        os.close(before)
        os.close(kept)
