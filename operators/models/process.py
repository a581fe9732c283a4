"""The child process that has models loaded, seen from its parent: what resolved a model goes on to embed with it.

Requests and answers go over sockets, pixels through shared memory: one pair for each forward pass at a time.
"""

import contextlib
import mmap
import os
import queue
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any

import numpy as np

from operators.models.load import Runtime
from operators.models.spec import ModelDescription, ModelError
from operators.storage.redact import redact

_LAST_WORDS_S = 5.0
"""Seconds that a child which has closed its end has to exit."""


class ModelProcessError(RuntimeError):
    """The child died or failed at its work: an outage or a bug, never the fault of an image."""


class ModelProcess:
    """One child process. It ends with its parent, however that ends; `close` ends it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: queue.LifoQueue[_Slot] = queue.LifoQueue()
        # A forward pass for each core at most: with more threads in each there are fewer of them.
        slots = [_Slot() for _ in os.sched_getaffinity(0)]
        self._ours, theirs = Pipe()
        files = [theirs.fileno(), *(file for slot in slots for file in (slot.theirs.fileno(), slot.memory))]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (kept for as long as the process lives)
        # -P: a folder `operators` where the user stands must not be taken for ours.
        command = [sys.executable, "-P", "-m", "operators.models.child", str(os.getpid()), *map(str, files)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            pass_fds=files,
            # Ctrl-C is for the parent alone, which ends the child by itself.
            start_new_session=True,
        )
        theirs.close()
        for slot in slots:
            slot.theirs.close()
            self._slots.put(slot)
        self.close = weakref.finalize(self, _end, self._process, [self._ours, *(slot.ours for slot in slots)])

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Any) -> dict[str, Any]:
        """What the child answers to a request to resolve or to load. Raises `ModelError`, `ModelProcessError`."""
        with self._lock:
            return self._exchange(self._ours, request)

    def embed(
        self,
        description: ModelDescription,
        runtime: Runtime,
        pixels_NHWC: np.ndarray,
        boxes: Sequence[np.ndarray] | None,
    ) -> np.ndarray:
        """One forward pass, as `ImageEmbedder.embed` or, with `boxes`, as `RegionEmbedder.embed_regions`; calls from
        several threads run side by side, as many as there are cores."""
        slot = self._slots.get()
        try:
            slot.write(pixels_NHWC)
            answer = self._exchange(slot.ours, (description, runtime, pixels_NHWC.shape, boxes))
        finally:
            self._slots.put(slot)
        vectors: np.ndarray = answer["vectors"]
        return vectors

    def _exchange(self, connection: Connection, request: Any) -> dict[str, Any]:
        try:
            connection.send(request)
            answer: dict[str, Any] = connection.recv()
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_WORDS_S)
            status = self._process.returncode
            raise ModelProcessError(f"the model's process ended (status {status}); it said: {self.said()}") from error
        if "error" in answer:
            raise ModelError(answer["error"])
        if "crash" in answer:
            raise ModelProcessError(redact(answer["crash"].strip())[-2000:])
        return answer

    def said(self) -> str:
        """What it has written to its stderr: its libraries' warnings and progress, and lines of ours."""
        size = os.fstat(self._said.fileno()).st_size
        return redact(os.pread(self._said.fileno(), size, 0).decode(errors="replace").strip())[-2000:] or "nothing"


class _Slot:
    """This end of one connection, and memory for the pixels of one forward pass."""

    def __init__(self) -> None:
        self.ours, self.theirs = Pipe()
        self.memory = os.memfd_create("pixlake-pixels")
        weakref.finalize(self, os.close, self.memory)
        self._mapping: mmap.mmap | None = None

    def write(self, pixels_NHWC: np.ndarray) -> None:
        if self._mapping is None or len(self._mapping) < pixels_NHWC.nbytes:
            os.ftruncate(self.memory, pixels_NHWC.nbytes)
            self._mapping = mmap.mmap(self.memory, pixels_NHWC.nbytes)
        np.copyto(np.frombuffer(self._mapping, np.uint8, pixels_NHWC.size).reshape(pixels_NHWC.shape), pixels_NHWC)


def _end(process: "subprocess.Popen[bytes]", connections: Sequence[Connection]) -> None:
    process.kill()
    process.wait()
    for connection in connections:
        connection.close()
