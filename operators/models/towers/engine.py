"""Keeps a device busy which computes by itself, whatever number of threads ask it for vectors."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

import numpy as np

IDLE_S = 5.0
"""After so long without work its threads end, and hold the model no more."""
AHEAD = 2
"""Micro-batches on the device: while one computes, the next is copied there."""

Batch = TypeVar("Batch")
Finish = Callable[[], np.ndarray]


class Engine(Generic[Batch]):
    """`launch` starts a micro-batch and returns at once; what it gives waits for the vectors. One thread makes all
    launches and another all waits, in the order of the calls: the device goes from the last micro-batch of one block to
    the first of the next without a stop, which it could not if each call waited for its own before another may
    begin."""

    def __init__(self, launch: Callable[[Batch], Finish], *, idle_s: float = IDLE_S) -> None:
        self._launch = launch
        self._idle_s = idle_s
        self._given: deque[tuple[_Call, Batch]] = deque()
        self._changed = threading.Condition()
        self._serving = False
        self._room = threading.BoundedSemaphore(AHEAD)

    def run(self, batches: Sequence[Batch]) -> np.ndarray:
        """The vectors of all micro-batches, end to end; at least one. Safe to call from several threads. Raises what
        one of them raises when it is launched or waited for; those of other calls go on."""
        call = _Call(len(batches))
        with self._changed:
            self._given.extend((call, batch) for batch in batches)
            if not self._serving:
                self._serving = True
                _thread("embed-launch", self._launch_all)
            self._changed.notify()
        return call.vectors.result()

    def _launch_all(self) -> None:
        running: queue.SimpleQueue[tuple[_Call, Finish] | None] = queue.SimpleQueue()
        _thread("embed-wait", self._finish_all, running)
        while (given := self._next()) is not None:
            call, batch = given
            if call.vectors.done():
                continue  # another of its micro-batches failed
            self._room.acquire()
            try:
                running.put((call, self._launch(batch)))
            except BaseException as error:
                self._room.release()
                call.fail(error)
        running.put(None)

    def _next(self) -> "tuple[_Call, Batch] | None":
        """The next micro-batch; None when none came for long, and another thread is to take the one that will."""
        with self._changed:
            self._changed.wait_for(lambda: self._given, self._idle_s)
            if self._given:
                return self._given.popleft()
            self._serving = False
            return None

    def _finish_all(self, running: "queue.SimpleQueue[tuple[_Call, Finish] | None]") -> None:
        while (launched := running.get()) is not None:
            call, finish = launched
            try:
                call.add(finish())
            except BaseException as error:
                call.fail(error)
            finally:
                self._room.release()


class _Call:
    """What one `run` waits for."""

    def __init__(self, batches: int) -> None:
        self.vectors: Future[np.ndarray] = Future()
        self._batches = batches
        self._parts: list[np.ndarray] = []
        self._lock = threading.Lock()

    def add(self, part: np.ndarray) -> None:
        """The vectors of the call's next micro-batch."""
        with self._lock:
            self._parts.append(part)
            if len(self._parts) == self._batches:
                self.vectors.set_result(np.concatenate(self._parts))

    def fail(self, error: BaseException) -> None:
        """The first error counts."""
        with self._lock:
            if not self.vectors.done():
                self.vectors.set_exception(error)


def _thread(name: str, target: Callable[..., None], *given: object) -> None:
    threading.Thread(target=target, args=given, name=name, daemon=True).start()
