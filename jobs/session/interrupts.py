"""Ctrl-C and SIGTERM as a request to stop cleanly; a second one stops at once."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_LOOK_S = 0.1


class StopEvent(threading.Event):
    """An event that a signal's handler may set. `threading.Event` has a lock for it, held for a moment at the start of
    each `wait`: a handler that interrupts one there would wait for itself, for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._was_set = False

    def is_set(self) -> bool:
        return self._was_set

    def set(self) -> None:
        self._was_set = True

    def wait(self, timeout: float | None = None) -> bool:
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._was_set and (left := end - time.monotonic()) > 0:
            time.sleep(min(_LOOK_S, left))
        return self._was_set


class Interrupts:
    """While entered, SIGINT and SIGTERM raise `KeyboardInterrupt`; within `deferred`, the first only sets `stop`.

    Signals belong to a process's main thread: elsewhere (a job called from a worker thread) nothing is caught.
    """

    def __init__(self) -> None:
        self.stop = StopEvent()
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
