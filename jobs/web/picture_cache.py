"""Pictures on disk by what they were made of, up to a number of bytes."""

import os
import re
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{64}")
_LEFT_AFTER_ROOM_IS_MADE = 0.9


class PictureCache:
    """Files in one folder, which several processes may share; those that were used longest ago go first. What cannot
    be written is not kept, and no error. Thread-safe."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._lock = threading.Lock()
        self._bytes = sum(size for _, size, _ in self._files())

    def get(self, name: str) -> bytes | None:
        """The picture, and a note that it was used. `name` is a sha256 in hex."""
        path = self._folder / name
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(path)
        return data

    def put(self, name: str, data: bytes) -> None:
        """Keep a picture."""
        if len(data) > self._most:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as part:
                part.write(data)
            # Whole or not at all: another process may read it right now.
            os.replace(part.name, self._folder / name)
            with self._lock:
                self._bytes += len(data)
                if self._bytes > self._most:
                    self._make_room()

    def _make_room(self) -> None:
        files = sorted(self._files())
        there = sum(size for _, size, _ in files)
        for _, size, path in files:
            if there <= self._most * _LEFT_AFTER_ROOM_IS_MADE:
                break
            with suppress(OSError):
                os.unlink(path)
            there -= size
        self._bytes = there

    def _files(self) -> list[tuple[float, int, str]]:
        """(last use, bytes, path) of each picture, and of what a killed process has left half written."""
        found = []
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) or entry.name.endswith(".part"):
                    with suppress(OSError):
                        about = entry.stat(follow_symlinks=False)
                        found.append((about.st_mtime, about.st_size, entry.path))
        return found
