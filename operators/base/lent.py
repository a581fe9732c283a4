"""What threads borrow for a while: processes, connections, places."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Lent(Generic[Thing]):
    """Each thing is with one thread at a time, and whoever has waited longest gets the next one that is given back. The
    standard library's queues and semaphores promise no order: of five threads on two of a model's requests, one was
    left waiting until the four others had nothing more to do."""

    def __init__(self, things: Iterable[Thing]) -> None:
        self._idle = list(things)
        self._waiting: deque[Future[Thing]] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[Thing]:
        """A thing, for the block."""
        thing = self.take()
        try:
            yield thing
        finally:
            self.give(thing)

    def take(self, timeout_s: float | None = None) -> Thing:
        """The thing that was given back last, if any is idle. Raises `TimeoutError` after so many seconds."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            turn: Future[Thing] = Future()
            self._waiting.append(turn)
        try:
            return turn.result(timeout_s)
        except BaseException:
            self._leave(turn)
            raise

    def give(self, thing: Thing) -> None:
        """Give a thing back, or one more to be lent."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set_result(thing)
            else:
                self._idle.append(thing)

    def _leave(self, turn: "Future[Thing]") -> None:
        """For one that waits no more, as after Ctrl-C."""
        with self._lock:
            given = turn.done()
            if not given:
                self._waiting.remove(turn)
        if given:
            self.give(turn.result())
