"""The main thread of a Ray worker rests while nothing can come of its looks.

A hundred times a second it looks whether the process was sent a signal, whatever else it has to do, and no setting says
how often (Ray 2.60, `CoreWorker::RunTaskExecutionLoop`). Beside a model a look takes 50 us, and as much again until the
model's data is back in the core's caches. What such a look does is run Python's signal handlers: those here rest.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

IDLE_S = 0.1
"""How long what comes may wait, and how long no look is made."""
_SETTLED_S = 0.2
"""After a call, Ray's own Python is at work for a moment."""
_LONGEST_S = 1.0
_LOOP = "main_loop"
"""Ray's function that has its loop in C++ beneath it: a handler that interrupts any other would hold that up."""


class RestWhenFull:
    """Of a worker that several threads call: with all of them at work, a further block could only wait."""

    def __init__(self, calls: int) -> None:
        self._calls, self._at_work = calls, 0
        self._lock, self._left = threading.Lock(), threading.Event()
        self._resting = False
        # One call at a time is made by the main thread itself.
        self._can = calls > 1 and _in_main_thread()
        if self._can:
            signal.signal(signal.SIGALRM, self._rest)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Entered for as long as a call takes."""
        with self._lock:
            self._at_work += 1
            full = self._full()
            if full:
                self._left.clear()
        if full and self._can:
            signal.raise_signal(signal.SIGALRM)
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1
                self._left.set()

    def _full(self) -> bool:
        return self._at_work >= self._calls

    def _rest(self, number: int, frame: FrameType | None) -> None:
        if self._resting or not _in_loop(frame):
            return
        self._resting = True
        try:
            while self._full():
                self._left.wait(_LONGEST_S)
        finally:
            self._resting = False


class RestWhenIdle:
    """Of a worker that its main thread calls, now and then: what comes is begun `IDLE_S` later at most."""

    def __init__(self) -> None:
        self._can = _in_main_thread()
        if self._can:
            signal.signal(signal.SIGALRM, self._rest)
        self.called()

    def called(self) -> None:
        """To be told at the end of each call: until the next one there is nothing to do."""
        if self._can:
            signal.setitimer(signal.ITIMER_REAL, _SETTLED_S)

    def _rest(self, number: int, frame: FrameType | None) -> None:
        if _in_loop(frame):
            time.sleep(IDLE_S)
            # Not at once: what came meanwhile is begun first.
            signal.setitimer(signal.ITIMER_REAL, 0.001)


def _in_main_thread() -> bool:
    """Python lets no other set a handler."""
    return threading.current_thread() is threading.main_thread()


def _in_loop(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_name == _LOOP
