"""Several decode processes side by side, for a worker that has several cores."""

import queue
from collections.abc import Callable, Sequence

from operators.decoding.hand_over import Results
from operators.decoding.process import DecodeProcess


class DecodePool:
    """Gives each call a process of its own; calls beyond `count` wait. One is started at once, others when needed."""

    def __init__(self, make: Callable[[], DecodeProcess], count: int) -> None:
        self.processes = [make() for _ in range(count)]
        self._free: queue.LifoQueue[DecodeProcess] = queue.LifoQueue()
        for process in self.processes:
            self._free.put(process)
        self.processes[-1].start()

    def decode(self, images: Sequence[memoryview], given: Sequence[bytes] | None = None) -> Results:
        """As `DecodeProcess.decode`, for several threads at a time."""
        process = self._free.get()
        try:
            return process.decode(images, given)
        finally:
            self._free.put(process)

    def close(self) -> None:
        for process in self.processes:
            process.close()
