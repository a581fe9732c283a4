"""The child process that decodes, seen from its parent: a hostile image can kill the child and nothing else.

Bytes go to the child and pixels come back through anonymous shared memory; a socket carries one packet each way for
every few rows. The child notes each row before it starts on it, so when it dies the parent knows which row it was.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from operators.base import failpoints
from operators.base.errors import ErrorClass
from operators.decoding.hand_over import Results, Take, hand_over
from operators.decoding.kept_memory import KeptMemory
from operators.decoding.shared_rows import DONE, PENDING, STARTED, SharedRows, fail_record

WALL_FACTOR = 3
"""A row may take this many times `timeout_s` by the clock: the CPU may be busy with something else."""
ATTEMPTS = 2
"""Attempts for a row whose decoder dies: something outside may have killed it, and that must not fail a good image."""
START_TIMEOUT_S = 120.0
_LAST_WORDS_S = 5.0
"""Seconds that a child which failed to start has between closing its socket and exiting, to say why."""
_POLL_MS = 500
_KEPT_BYTES = 128 * 1024 * 1024
"""Memory that the child keeps between images. glibc gives back blocks over 32 MiB at once, and asking for them anew
costs 12 megapixels a quarter of their time: 40 ms kept, 55 ms not."""
_PASSED_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "HOME", failpoints.ON, failpoints.ONCE)
"""Environment variables for the child: no credentials, which a process that decodes strangers' bytes does not need."""


class DecodeProcessError(RuntimeError):
    """The child cannot run at all: an outage or a bug, never the fault of a row."""


class DecodeProcess:
    """One child process. `start` or the first need starts it, and again after it died; it ends with its parent, however
    that ends."""

    def __init__(
        self, setup: dict[str, Any], timeout_s: float, row_bytes: Sequence[int], max_regions: int | None = None
    ) -> None:
        """`setup` is JSON-ready, for `child.Setup`. `row_bytes`: height * width * 3 of each target."""
        self._setup = setup
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._memory = KeptMemory()
        self._child: _Child | None = None
        self._shared = SharedRows.create(row_bytes, max_regions)

    @property
    def pid(self) -> int | None:
        """Process id of the running child."""
        return self._child.pid if self._child else None

    def decode(self, images: Sequence[memoryview], given: Sequence[bytes] | None = None) -> Results:
        """Decode: all rows end DONE or FAILED; `given` as in `hand_over`. Calls from several threads wait for each
        other.

        Raises `DecodeProcessError`.
        """
        with self._lock:
            return hand_over(self._shared, images, given, self._run, self._memory)

    def start(self) -> None:
        """Start the child and wait until it is ready, so that the first `decode` need not wait."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the child. The next `decode` starts another."""
        with self._lock:
            self._drop()

    def _run(self, count: int, take: Take) -> None:
        """Work until every one of the first `count` shared records is DONE or FAILED, and taken."""
        records = self._shared.records[:count]
        deaths_between_rows = 0
        while (records["state"] < DONE).any():
            child = self._running()
            cause = child.ask(records, self._timeout_s * WALL_FACTOR)
            if cause is None:
                take()
                continue
            self._drop()
            deaths_between_rows = 0 if self._blame(records, cause) else deaths_between_rows + 1
            if deaths_between_rows == ATTEMPTS:
                raise DecodeProcessError(f"the decode process died {ATTEMPTS} times while on no image: {cause}")
        take()

    def _running(self) -> "_Child":
        self._child = self._child or _Child(self._setup, self._shared)
        return self._child

    def _blame(self, records: np.ndarray, cause: "_Death") -> bool:
        """Fail the row that was being decoded, or leave it for one more attempt. False where there was none."""
        rows = np.flatnonzero(records["state"] == STARTED)
        for row in rows:
            records["attempts"][row] += 1
            if not cause.timed_out and records["attempts"][row] < ATTEMPTS:
                records["state"][row] = PENDING
                continue
            error, what = self._told(cause)
            fail_record(records, int(row), error, f"{what} ({cause})")
            records["slots"][row] = self._shared.no_slots
        return len(rows) > 0

    def _told(self, cause: "_Death") -> tuple[ErrorClass, str]:
        """The class of a row that was in work at such a death, for good, and what happened."""
        if cause.timed_out:
            return ErrorClass.DECODE_TIMEOUT, f"decoding took more than {self._timeout_s:g} s"
        if cause.killed:
            return ErrorClass.DECODE_MEMORY, "its process was killed, as the kernel does where memory is short"
        return ErrorClass.DECODER_CRASH, "decoding killed its process"

    def _drop(self) -> None:
        child, self._child = self._child, None
        if child:
            child.end()


class _Death:
    """How a child died."""

    def __init__(self, returncode: int, wall_s: float | None = None) -> None:
        self.timed_out = wall_s is not None or returncode == -signal.SIGPROF
        self.killed = returncode == -signal.SIGKILL
        """From outside: no image has its process end so."""
        self._returncode = returncode
        self._wall_s = wall_s

    def __str__(self) -> str:
        if self._wall_s is not None:
            return f"{self._wall_s:g} s by the clock"
        if self._returncode == -signal.SIGPROF:
            return "CPU time"
        if self._returncode < 0:
            return f"signal {signal.Signals(-self._returncode).name}"
        return f"exit status {self._returncode}"


class _Child:
    """The running process and this end of its socket."""

    def __init__(self, setup: dict[str, Any], shared: SharedRows) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: os.environ[name] for name in _PASSED_ENVIRONMENT if name in os.environ}
        environment |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
        environment |= dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(_KEPT_BYTES))
        files = (theirs.fileno(), shared.source, shared.results)
        command = [sys.executable, "-m", "operators.decoding.child", str(os.getpid()), *map(str, files)]
        with tempfile.TemporaryFile() as stderr, theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=files,
                env=environment,
                start_new_session=True,  # Ctrl-C in a terminal is for the parent to act on
            )
            theirs.close()
            self._socket = ours
            self.end = weakref.finalize(self, _end, self._process, ours)
            ours.send(json.dumps(setup).encode())
            self._await_ready(stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, records: np.ndarray, wall_s: float) -> _Death | None:
        """Have the first `len(records)` shared rows decoded; None when they are. Raises `DecodeProcessError`."""
        try:
            self._socket.send(str(len(records)).encode())
            answered = self._wait(records, wall_s)
            answer = self._socket.recv(65536) if answered else b""
        except (BrokenPipeError, ConnectionResetError):
            answered, answer = True, b""
        if not answered:
            self._process.kill()
            return _Death(self._process.wait(), wall_s)
        if not answer:
            return _Death(self._process.wait())
        if answer != b"ok":
            raise DecodeProcessError(f"the decode process failed: {answer.decode(errors='replace')}")
        return None

    def _wait(self, records: np.ndarray, wall_s: float) -> bool:
        """True when the child answered or died; False when one row has been in work for `wall_s` seconds."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        row, since = -1, time.monotonic()
        while not poll.poll(min(_POLL_MS, int(wall_s * 1000))):
            done = int((records["state"] >= DONE).sum())
            if done != row:
                row, since = done, time.monotonic()
            elif time.monotonic() - since > wall_s:
                return False
        return True

    def _await_ready(self, stderr: IO[bytes]) -> None:
        self._socket.settimeout(START_TIMEOUT_S)
        try:
            ready = self._socket.recv(16) == b"ready"
        except (TimeoutError, ConnectionResetError):
            ready = False
        self._socket.settimeout(None)
        if not ready:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_WORDS_S)
            self.end()
            stderr.seek(0)
            said = stderr.read().decode(errors="replace").strip()[-2000:]
            raise DecodeProcessError(
                f"the decode process did not start (status {self._process.returncode}); it said: {said or 'nothing'}"
            )


def _end(process: "subprocess.Popen[bytes]", ours: socket.socket) -> None:
    ours.close()
    process.kill()
    process.wait()
