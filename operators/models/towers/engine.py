"""One thread that keeps a device busy which computes by itself, whatever number of threads ask it for vectors."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

import numpy as np

IDLE_S = 5.0
"""After so long without work the thread ends, and holds the model no more."""
AHEAD = 2
"""Micro-batches on the device: while one computes, the next is copied there."""

Batch = TypeVar("Batch")
_Result = TypeVar("_Result")
Finish = Callable[[], np.ndarray]


class Engine(Generic[Batch]):
    """`launch` starts a micro-batch and returns at once; what it gives waits for the vectors. One thread makes all
    launches and waits, in the order of the calls: the device goes from the last micro-batch of one block to the first
    of the next without a stop, which it could not if each call waited for its own before another may begin."""

    def __init__(self, launch: Callable[[Batch], Finish], *, idle_s: float = IDLE_S) -> None:
        self._launch = launch
        self._idle_s = idle_s
        self._given: deque[tuple[_Call, Batch]] = deque()
        self._changed = threading.Condition()
        self._serving = False

    def run(self, batches: Sequence[Batch]) -> np.ndarray:
        """The vectors of all micro-batches, end to end; at least one. Safe to call from several threads. Raises what
        one of them raises when it is launched or waited for; those of other calls go on."""
        call = _Call(len(batches))
        with self._changed:
            self._given.extend((call, batch) for batch in batches)
            if not self._serving:
                self._serving = True
                threading.Thread(target=self._serve, name="embed-engine", daemon=True).start()
            self._changed.notify()
        return call.vectors.result()

    def _serve(self) -> None:
        running: deque[tuple[_Call, Finish]] = deque()
        while (given := self._next(wait=not running)) or running:
            if given:
                call, batch = given
                finish = call.attempt(self._launch, batch)
                if finish:
                    running.append((call, finish))
            if running and (not given or len(running) == AHEAD):
                call, finish = running.popleft()
                vectors = call.attempt(finish)
                if vectors is not None:
                    call.add(vectors)

    def _next(self, *, wait: bool) -> "tuple[_Call, Batch] | None":
        """The next micro-batch; None where there is none and, if it may `wait`, none came: then the thread is to
        end."""
        with self._changed:
            if wait and not self._given:
                self._changed.wait_for(lambda: self._given, self._idle_s)
            if self._given:
                return self._given.popleft()
            self._serving = not wait
            return None


class _Call:
    """What one `run` waits for."""

    def __init__(self, batches: int) -> None:
        self.vectors: Future[np.ndarray] = Future()
        self._batches = batches
        self._parts: list[np.ndarray] = []

    def attempt(self, step: Callable[..., _Result], *given: object) -> _Result | None:
        """What the step gives; None where it, or an earlier one of this call, failed."""
        if self.vectors.done():
            return None
        try:
            return step(*given)
        except BaseException as error:
            self.vectors.set_exception(error)
            return None

    def add(self, part: np.ndarray) -> None:
        """The vectors of the call's next micro-batch."""
        self._parts.append(part)
        if len(self._parts) == self._batches:
            self.vectors.set_result(np.concatenate(self._parts))
