"""Reads local files, only below the allowed roots, wherever symbolic links lead."""

import errno
import os
import stat
from collections.abc import Sequence

from operators.base.errors import ErrorClass
from operators.fetching.attempt import Fetched, FetchError, Limits, too_large
from operators.fetching.spans import ByteSpan, replaced
from operators.storage.uris import file_version, split_uri

_HELP = "the source's own folder is allowed; others with --set fetch.allowed_roots=[FOLDER]"


class FileReader:
    """Reads files. Thread-safe. Deadlines do not apply: a local read cannot be called off."""

    def __init__(self, limits: Limits, roots: Sequence[str]) -> None:
        self._limits = limits
        self._roots = tuple(os.path.realpath(root) for root in roots)
        self._shows_open_files = os.path.exists("/proc/self/fd")

    def read(self, path: str, real_folders: dict[str, str]) -> Fetched:
        """The regular file at an absolute path. Raises `FetchError`.

        `real_folders` keeps, from one file to the next, where links lead: for one block of files, since links change.
        """
        descriptor = self._open(path, real_folders)
        try:
            return self._read_open(descriptor)
        except OSError as error:
            raise FetchError(ErrorClass.UNAVAILABLE, f"read failed: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def read_span(self, span: ByteSpan) -> Fetched:
        """The bytes of a span of a packed file. Raises `FetchError`."""
        descriptor = self._open(split_uri(span.uri)[2], {})
        try:
            found = self._check_open(descriptor)
            if file_version(found.st_size, found.st_mtime_ns) != span.version:
                raise replaced()
            data = _pread(descriptor, span.stop - span.start, span.start)
        except OSError as error:
            raise FetchError(ErrorClass.UNAVAILABLE, f"read failed: {error.strerror}") from error
        finally:
            os.close(descriptor)
        if len(data) != span.stop - span.start:
            raise replaced()
        return Fetched(data, _etag(found))

    def _open(self, path: str, real_folders: dict[str, str]) -> int:
        """A descriptor, to be closed, of what lies at an absolute path below the roots."""
        if "\0" in path or not path.startswith("/"):
            raise FetchError(ErrorClass.BAD_URI, "not an absolute path: relative paths belong to a manifest's folder")
        try:
            return self._open_below(path, real_folders)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FetchError(ErrorClass.NOT_FOUND, "no such file") from error
        except PermissionError as error:
            raise FetchError(ErrorClass.FORBIDDEN, "no permission to read the file") from error
        except (OSError, ValueError) as error:
            raise FetchError(ErrorClass.BAD_URI, f"path cannot be opened: {error}") from error

    def _open_below(self, path: str, real_folders: dict[str, str]) -> int:
        folder, _, name = path.rpartition("/")
        if name not in ("", ".", ".."):
            if folder not in real_folders:
                real_folders[folder] = os.path.realpath(folder or "/", strict=False)
            try:
                return self._open_real(f"{real_folders[folder].rstrip('/')}/{name}")
            except FetchError:
                pass  # a link, even one outside the roots, may lead inside
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
        return self._open_real(os.path.realpath(path, strict=False))

    def _open_real(self, real: str) -> int:
        self._check_root(real)
        return os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _check_root(self, real: str) -> None:
        for root in self._roots:
            if real == root or real.startswith(root.rstrip("/") + "/"):
                return
        raise FetchError(ErrorClass.BLOCKED_SOURCE, f"file outside the allowed roots; {_HELP}")

    def _check_open(self, descriptor: int) -> os.stat_result:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FetchError(ErrorClass.BLOCKED_SOURCE, "not a regular file")
        if self._shows_open_files:
            # A folder may have been swapped for a link between the check and the open: ask what really is open.
            self._check_root(os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)"))
        return found

    def _read_open(self, descriptor: int) -> Fetched:
        found = self._check_open(descriptor)
        if found.st_size > self._limits.max_bytes:
            raise too_large(found.st_size, self._limits)
        data = _read_up_to(descriptor, found.st_size, self._limits.max_bytes)
        if len(data) > self._limits.max_bytes:
            raise too_large(len(data), self._limits)
        if len(data) != found.st_size:
            raise FetchError(ErrorClass.SOURCE_CHANGED, "file changed its size while it was read")
        return Fetched(data, _etag(found))


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    """Up to `size` bytes from `offset`; fewer only at the end of the file."""
    data = os.pread(descriptor, size, offset)
    while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
        data += more
    return data


def _read_up_to(descriptor: int, size: int, max_bytes: int) -> bytes:
    """All bytes up to one past `max_bytes`; one system call where the file is as long as it says."""
    data = os.read(descriptor, size + 1)
    while len(data) < size + 1 and len(data) <= max_bytes:
        more = os.read(descriptor, size + 1 - len(data))
        if not more:
            break
        data += more
    return data
