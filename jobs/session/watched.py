"""The command in a child process, and its parent that watches it: whoever ends the child, the command ends in words.

Ray's core worker ends its process by `_Exit` once its head or its raylet is gone, and the kernel kills what takes too
much memory: no code of that process runs any more. The parent has loaded nothing that could fail. It waits, passes
signals on, keeps what the child last said, and says how it ended.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PASS_ON_S = 0.2
"""A terminal and systemd signal all processes of a command. What has not reached the child by then is passed on."""
_NATIVE_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class ChildEnd:
    """How the child ended."""

    code: int | None
    """The exit code that the command itself chose; None where it had no say in its end."""
    status: int
    """The exit code of the process; negative: the signal that ended it."""
    words: dict[str, Any]
    """What it last said of itself, each key as it was last said."""
    native: str
    """The last lines that native libraries wrote to file descriptor 2."""


class _Voice:
    """The child's way to its parent."""

    def __init__(self, said: int, native: int) -> None:
        self.said, self.native = said, native


_voice: _Voice | None = None
"""Of this very process; None where nobody watches it."""


def watch() -> ChildEnd | None:
    """Fork: None in the child, which goes on as the command; in the parent, once the child is over, how it ended.

    For a process with one thread. The child ends with its parent, also where that is killed.
    """
    said, say = os.pipe()
    native, native_to = os.pipe()
    got, get = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _become_child(parent, _Voice(say, native_to), get)
        for end in (said, native, got):
            os.close(end)
        return None
    for end in (say, native_to, get):
        os.close(end)
    return _Parent(child, said, native, got).wait()


def say(key: str, value: Any) -> None:
    """Tell the parent something (JSON) that it is to say if this process cannot; does nothing where nobody watches.
    From the main thread."""
    _tell({"words": {key: value}})


def say_ended(code: int) -> None:
    """Tell the parent that the command ends by itself, with this exit code."""
    _tell({"ended": code})


def native_output() -> int | None:
    """Where what native libraries write to file descriptor 2 is kept for the parent; None where nobody watches."""
    return None if _voice is None else _voice.native


def _tell(message: dict[str, Any]) -> None:
    if _voice is None:
        return
    # A signal may have cut the message before this one short: that is a line of its own, and skipped.
    data = b"\n" + json.dumps(message).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(_voice.said, data) :]


def _become_child(parent: int, voice: _Voice, get: int) -> None:
    global _voice
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    _voice = voice
    # Python writes the number of each signal that arrives there, whoever handles it.
    os.set_blocking(get, False)
    signal.set_wakeup_fd(get, warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class PassOn:
    """Which signals are passed on to the child: those that it does not get by itself within `PASS_ON_S`. Pure: times
    are given."""

    def __init__(self) -> None:
        self._arrived: list[tuple[int, float]] = []
        self._got: list[tuple[int, float]] = []
        self._passed: list[int] = []

    @property
    def waiting(self) -> bool:
        return bool(self._arrived)

    def arrived(self, number: int, now: float) -> None:
        """The parent has a signal."""
        twin = next((each for each in self._got if each[0] == number and now - each[1] < PASS_ON_S), None)
        if twin:
            self._got.remove(twin)
        else:
            self._arrived.append((number, now))

    def got(self, number: int, now: float) -> None:
        """The child has a signal."""
        if number in self._passed:
            self._passed.remove(number)
            return
        twin = next((each for each in self._arrived if each[0] == number), None)
        if twin:
            self._arrived.remove(twin)
        else:
            self._got = [*(each for each in self._got if now - each[1] < PASS_ON_S), (number, now)]

    def due(self, now: float) -> list[int]:
        """Those to send to the child now."""
        due = [number for number, when in self._arrived if now - when >= PASS_ON_S]
        self._arrived = [each for each in self._arrived if now - each[1] < PASS_ON_S]
        self._passed += due
        return due


class _Parent:
    """Waits for the child, in one thread."""

    def __init__(self, child: int, said: int, native: int, got: int) -> None:
        self._child = child
        self._pass_on = PassOn()
        self._unread = b""
        self._native = b""
        self._words: dict[str, Any] = {}
        self._code: int | None = None
        wake, wake_to = os.pipe()
        os.set_blocking(wake_to, False)
        signal.set_wakeup_fd(wake_to, warn_on_full_buffer=False)
        for number in (*SIGNALS, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: None)
        self._selector = selectors.DefaultSelector()
        readers = ((said, self._read_said), (native, self._read_native), (got, self._read_got), (wake, self._read_wake))
        for end, read in readers:
            os.set_blocking(end, False)
            self._selector.register(end, selectors.EVENT_READ, read)

    def wait(self) -> ChildEnd:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        ended = status = 0
        while not ended:
            self._read(PASS_ON_S if self._pass_on.waiting else None)
            for number in self._pass_on.due(time.monotonic()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child, number)
            ended, status = os.waitpid(self._child, os.WNOHANG)
        # Grandchildren may hold the pipes open: what is in them is read, and their end is not waited for.
        self._read(0)
        native = self._native.decode(errors="replace").strip()
        return ChildEnd(code=self._code, status=os.waitstatus_to_exitcode(status), words=self._words, native=native)

    def _read(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            data = b"".join(_parts(key.fd))
            if data:
                key.data(data)
            else:
                # Closed by all who could write.
                self._selector.unregister(key.fd)

    def _read_wake(self, numbers: bytes) -> None:
        for number in numbers:
            if number in SIGNALS:
                self._pass_on.arrived(number, time.monotonic())

    def _read_got(self, numbers: bytes) -> None:
        for number in numbers:
            if number in SIGNALS:
                self._pass_on.got(number, time.monotonic())

    def _read_native(self, data: bytes) -> None:
        self._native = (self._native + data)[-_NATIVE_BYTES:]

    def _read_said(self, data: bytes) -> None:
        *whole, self._unread = (self._unread + data).split(b"\n")
        for line in whole:
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                self._words |= message.get("words", {})
                self._code = message.get("ended", self._code)


def _parts(end: int) -> Iterator[bytes]:
    """All that is in the pipe now."""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(end, 1 << 16):
            yield part
