"""Images that users of the page ask by: files in a folder of this process, as many as fit."""

import hashlib
import os
import threading
from collections import OrderedDict
from tempfile import TemporaryDirectory

from operators.base.errors import UserError

MOST_BYTES = 256 << 20
"""Bytes of all that are kept; those that were used longest ago go first."""


class NoUploadError(UserError):
    """An image that was not sent, or has gone since."""


class Uploads:
    """Uploaded images by the beginning of their sha256. Thread-safe; the folder goes with the process."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._folder = TemporaryDirectory(prefix="pixlake-serve-")
        self._most = most_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, data: bytes) -> str:
        """The name of the image, by which it can be asked by from now on."""
        name = hashlib.sha256(data).hexdigest()[:32]
        with self._lock:
            if name not in self._sizes:
                with open(self._place(name), "wb") as file:
                    file.write(data)
                self._sizes[name] = len(data)
            self._sizes.move_to_end(name)
            while sum(self._sizes.values()) > self._most and len(self._sizes) > 1:
                gone, _ = self._sizes.popitem(last=False)
                os.unlink(self._place(gone))
        return name

    def path(self, name: str) -> str:
        """The file of an image. Raises `NoUploadError` where there is none of this name."""
        with self._lock:
            # Known names alone: no text of a client becomes part of a path.
            if name not in self._sizes:
                raise NoUploadError("this image is not there any more: choose or drop it once more")
            self._sizes.move_to_end(name)
        return self._place(name)

    def read(self, name: str) -> bytes:
        """The bytes of an image. Raises `NoUploadError`."""
        with open(self.path(name), "rb") as file:
            return file.read()

    def close(self) -> None:
        self._folder.cleanup()

    def _place(self, name: str) -> str:
        return os.path.join(self._folder.name, name)
