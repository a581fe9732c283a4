"""The process that has models loaded, seen from those that use it: what resolved a model goes on to embed with it.

Requests and answers go over a Unix socket, pixels through shared memory: one connection for each forward pass at a
time.
"""

import contextlib
import mmap
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Client, Connection
from multiprocessing.reduction import send_handle
from typing import Any

import numpy as np

from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError
from operators.storage.redact import redact

_LAST_WORDS_S = 5.0
"""Seconds that a process which has closed its end has to exit."""
_LONGEST_ADDRESS = 107
"""Bytes of a Unix socket's path: `sun_path` of unix(7) has 108, with the zero behind it."""


class ModelProcessError(RuntimeError):
    """The process died or failed at its work: an outage or a bug, never the fault of an image."""

    model: str | None = None
    """Which of the models that it was asked for it failed with, where that is known."""


class ModelClient:
    """Uses a model process on this machine, from any process and any thread."""

    def __init__(self, address: str) -> None:
        """`address` is the path of its socket. Raises `OSError` where nothing listens there."""
        self.address = address
        self._lock = threading.Lock()
        self._free = [_Channel(address)]

    def ask(self, request: Any) -> dict[str, Any]:
        """The answer to a request to resolve or to load. Raises `ModelError`, `ModelProcessError`."""
        return self._exchange(request, None)

    def embed(
        self,
        description: ModelDescription,
        runtime: Runtime,
        pixels_NHWC: np.ndarray,
        boxes: Sequence[np.ndarray] | None,
    ) -> np.ndarray:
        """One forward pass, as `ImageEmbedder.embed` or, with `boxes`, as `RegionEmbedder.embed_regions`; calls from
        several threads run side by side."""
        answer = self._exchange((description, runtime, pixels_NHWC.shape, boxes), pixels_NHWC)
        vectors: np.ndarray = answer["vectors"]
        return vectors

    def _exchange(self, request: Any, pixels_NHWC: np.ndarray | None) -> dict[str, Any]:
        with self._lock:
            channel = self._free.pop() if self._free else None
        try:
            channel = channel or _Channel(self.address)
            if pixels_NHWC is not None:
                channel.write(pixels_NHWC)
            channel.connection.send(request)
            answer: dict[str, Any] = channel.connection.recv()
        except (EOFError, OSError):
            # Without its cause: a run's note names the innermost, and `EOFError` tells a user nothing.
            raise ModelProcessError(f"the model's process ended{self.last_words()}") from None
        # Here and not in a `finally`: an answer that Ctrl-C kept from being taken would be taken for the next one.
        with self._lock:
            self._free.append(channel)
        if "error" in answer:
            raise ModelError(answer["error"])
        if "crash" in answer:
            crash = ModelProcessError(redact(answer["crash"].strip())[-2000:])
            crash.model = answer["model"]
            raise crash
        return answer

    def last_words(self) -> str:
        """What is known of its end, to be put behind a sentence."""
        return ""


class _Channel:
    """One connection, and memory for the pixels of one forward pass."""

    def __init__(self, address: str) -> None:
        self.connection: Connection = Client(address)
        self._memory = os.memfd_create("pixlake-pixels")
        weakref.finalize(self, _close, self.connection, self._memory)
        send_handle(self.connection, self._memory, None)
        self._mapping: mmap.mmap | None = None

    def write(self, pixels_NHWC: np.ndarray) -> None:
        if self._mapping is None or len(self._mapping) < pixels_NHWC.nbytes:
            os.ftruncate(self._memory, pixels_NHWC.nbytes)
            self._mapping = mmap.mmap(self._memory, pixels_NHWC.nbytes)
        np.copyto(np.frombuffer(self._mapping, np.uint8, pixels_NHWC.size).reshape(pixels_NHWC.shape), pixels_NHWC)


def _close(connection: Connection, memory: int) -> None:
    connection.close()
    os.close(memory)


class ModelProcess(ModelClient):
    """A child that holds models. It ends with this process, however that ends; `close` ends it at once."""

    def __init__(self) -> None:
        folder, address = _address()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (kept for as long as the process lives)
        self._told = 0
        """Bytes of it that `new_lines` has given."""
        self._reading = threading.Lock()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            # Bound here: whoever connects before the child is up waits for it.
            listening.bind(address)
            listening.listen(1024)
            self._process = subprocess.Popen(
                # -P: a folder `operators` where the user stands must not be taken for ours.
                [sys.executable, "-P", "-m", "operators.models.child", str(os.getpid()), str(listening.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=[listening.fileno()],
                # Ctrl-C is for the parent alone, which ends the child by itself.
                start_new_session=True,
            )
        self.close = weakref.finalize(self, _end, self._process, folder)
        super().__init__(address)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_WORDS_S)
        return f" (status {self._process.returncode}); it said: {self.said() or 'nothing'}"

    def new_lines(self) -> list[str]:
        """What it has written to its stderr since this was last asked, in whole lines."""
        with self._reading:
            written = os.pread(self._said.fileno(), os.fstat(self._said.fileno()).st_size, self._told)
            new = written[: written.rfind(b"\n") + 1]
            self._told += len(new)
        return redact(new.decode(errors="replace")).splitlines()

    def said(self) -> str:
        """What it has written to its stderr: its libraries' warnings and progress, and lines of ours."""
        size = os.fstat(self._said.fileno()).st_size
        return redact(os.pread(self._said.fileno(), size, 0).decode(errors="replace").strip())[-2000:]


def _address() -> tuple[str, str]:
    """(a new folder, the path of a socket in it). No other user may enter the folder: who reaches the socket may ask
    for anything."""
    for parent in (None, "/tmp"):
        folder = tempfile.mkdtemp(prefix="pixlake-", dir=parent)
        address = os.path.join(folder, "models")
        if len(os.fsencode(address)) <= _LONGEST_ADDRESS:
            break
        # The temporary folders of batch systems are named after user, project and job.
        os.rmdir(folder)
    return folder, address


def _end(process: "subprocess.Popen[bytes]", folder: str) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
