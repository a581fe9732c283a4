"""Keeps what native libraries write to file descriptor 2 off the user's terminal; Python's own stderr stays."""

import contextlib
import os
import sys
from collections.abc import Iterator

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
