"""Ctrl-C and SIGTERM as a request to stop cleanly; a second one stops at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """While entered, SIGINT and SIGTERM raise `KeyboardInterrupt`; within `deferred`, the first only sets `stop`.

    Signals belong to a process's main thread: elsewhere (a job called from a worker thread) nothing is caught.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._deferring = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Wraps work that watches `stop` and ends cleanly by itself."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # While Ray starts its own handler may be in force, which sets an alarm that aborts the process (2.60).
        signal.alarm(0)
        if self.stop.is_set() or not self._deferring:
            raise KeyboardInterrupt
        self.stop.set()
