"""Several decode processes side by side, for a worker that has several cores."""

import threading
import time
from collections.abc import Callable, Sequence

from operators.base.lent import Lent
from operators.decoding.hand_over import Results
from operators.decoding.process import DecodeProcess

START_S = 0.5
"""About what a process's start takes of a core."""


class DecodePool:
    """Gives each call a process of its own. One is started at once, and another, up to `count`, whenever calls have
    waited for as long as its start takes: where a model takes all the time, one does."""

    def __init__(self, make: Callable[[], DecodeProcess], count: int) -> None:
        self.processes = [make() for _ in range(count)]
        self._lent = Lent(self.processes[-1:])
        self._unused = self.processes[:-1]
        self._waited_s = 0.0
        self._lock = threading.Lock()
        self.processes[-1].start()

    def decode(self, images: Sequence[memoryview], given: Sequence[bytes] | None = None) -> Results:
        """As `DecodeProcess.decode`, for several threads at a time."""
        process = self._process()
        try:
            return process.decode(images, given)
        finally:
            self._lent.give(process)

    def close(self) -> None:
        for process in self.processes:
            process.close()

    def _process(self) -> DecodeProcess:
        while self._unused:
            asked = time.monotonic()
            try:
                return self._lent.take(START_S)
            except TimeoutError:
                # One image may take a minute: others need not wait for it.
                continue
            finally:
                self._waited(time.monotonic() - asked)
        return self._lent.take()

    def _waited(self, seconds: float) -> None:
        with self._lock:
            self._waited_s += seconds
            if self._waited_s < START_S or not self._unused:
                return
            self._waited_s = 0.0
            another = self._unused.pop()
        self._lent.give(another)
