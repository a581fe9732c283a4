"""Reads local files: below the allowed roots, and what links in them lead to as far as `links` allows."""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future

from operators.base.errors import ErrorClass
from operators.fetching.attempt import Fetched, FetchError, Limits, too_large
from operators.fetching.links import Roots, allow, why_not
from operators.fetching.spans import ByteSpan, replaced
from operators.storage.uris import file_version, split_uri

FILE_THREADS = 4
"""Most that read the files of one block."""
PIECE_BYTES = 4 << 20
ALONE_BYTES = PIECE_BYTES // 8
"""A larger file has memory of its own, and leaves no large rest of a piece unused."""
_SLOW_S = 0.001
"""Seconds that a file takes on average from which on another thread helps. One thread spent 85 to 116 us of CPU on
a file of 51 KB that was at hand, four 208 to 252, since they wait for one another."""
_GRACE_S = 0.05
"""Beyond that: whoever waits for a core a few times is not slow. With 10 ms others read 28 % of the files of a run on
two busy cores."""


def run_all(
    reads: Sequence[Callable[[], None]],
    helpers: Executor,
    clock: Callable[[], float] = time.monotonic,
    *,
    were_slow: bool = False,
) -> bool:
    """All reads, in this thread and, where they are slow by the clock, in up to three of the helpers; from the first
    one on, if those before them `were_slow`. Tells whether these are."""
    waiting = _Reads(reads)
    helping: list[Future[None]] = []
    grace_s = 0.0 if were_slow else _GRACE_S
    slow, started = were_slow, clock()
    for done, read in enumerate(waiting, 1):
        read()
        slow = clock() - started > grace_s + _SLOW_S * done
        if slow and len(helping) < FILE_THREADS - 1:
            helping.append(helpers.submit(_help, waiting))
    for helper in helping:
        helper.result()
    return slow


class _Reads(Iterator[Callable[[], None]]):
    """Each given once, to whichever thread asks."""

    def __init__(self, reads: Sequence[Callable[[], None]]) -> None:
        self._reads = iter(reads)
        self._lock = threading.Lock()

    def __next__(self) -> Callable[[], None]:
        with self._lock:
            return next(self._reads)


def _help(waiting: _Reads) -> None:
    for read in waiting:
        read()


class FileBlock:
    """What the files of one block share. Thread-safe.

    Their bytes lie one behind the other in `memory`, a piece of `PIECE_BYTES` after the other. In memory of their own,
    2,048 files of 51 KB are more than glibc keeps, and the kernel fills all of it with zeros for each block: they take
    66 to 69 us of CPU each in place of 57 to 59.
    """

    def __init__(self, memory: Callable[[], memoryview]) -> None:
        self.real_folders: dict[str, str] = {}
        """Where links lead, for one block of files, since links change."""
        self._memory = memory
        self._left = memoryview(b"")
        self._lock = threading.Lock()

    def room(self, size: int) -> memoryview:
        """Memory for one file of up to `ALONE_BYTES`, in what there is or in a further piece."""
        with self._lock:
            if size > len(self._left):
                self._left = self._memory()
            room, self._left = self._left[:size], self._left[size:]
        return room


class FileReader:
    """Reads files. Thread-safe. Deadlines do not apply: a local read cannot be called off."""

    def __init__(self, limits: Limits, roots: Sequence[str]) -> None:
        self._limits = limits
        self._roots = Roots(roots)
        self._shows_open_files = os.path.exists("/proc/self/fd")

    def read(self, path: str, block: FileBlock) -> Fetched:
        """The regular file at an absolute path, one of a block. Raises `FetchError`."""
        descriptor, real = self._open(path, block.real_folders)
        try:
            return self._read_open(descriptor, real, block)
        except OSError as error:
            raise FetchError(ErrorClass.UNAVAILABLE, f"read failed: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def read_span(self, span: ByteSpan) -> Fetched:
        """The bytes of a span of a packed file. Raises `FetchError`."""
        descriptor, real = self._open(split_uri(span.uri)[2], {})
        try:
            found = self._check_open(descriptor, real)
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

    def _open(self, path: str, real_folders: dict[str, str]) -> tuple[int, str]:
        """A descriptor, to be closed, of what lies at an absolute path; and its path without links."""
        if "\0" in path or not path.startswith("/"):
            raise FetchError(ErrorClass.BAD_URI, "not an absolute path: relative paths belong to a manifest's folder")
        try:
            return self._open_below(path, real_folders)
        except (FileNotFoundError, NotADirectoryError) as error:
            what = "a link that leads to nothing" if os.path.islink(path) else "no such file"
            raise FetchError(ErrorClass.NOT_FOUND, what) from error
        except PermissionError as error:
            raise FetchError(ErrorClass.FORBIDDEN, "no permission to read the file") from error
        except (OSError, ValueError) as error:
            raise FetchError(ErrorClass.BAD_URI, f"path cannot be opened: {error}") from error

    def _open_below(self, path: str, real_folders: dict[str, str]) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        if name not in ("", ".", ".."):
            if folder not in real_folders:
                real_folders[folder] = os.path.realpath(folder or "/", strict=False)
            here = f"{real_folders[folder].rstrip('/')}/{name}"
            try:
                # A link, even one outside the roots, may lead inside.
                if self._roots.hold(here):
                    return _open_file(here), here
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
        real = os.path.realpath(path, strict=False)
        return (_open_file(real), real) if self._roots.hold(real) else self._open_outside(path)

    def _open_outside(self, path: str) -> tuple[int, str]:
        """What links in the roots lead to."""
        followed = self._roots.followed(path)
        if followed is None:
            folder = os.path.dirname(path)
            raise FetchError(
                ErrorClass.BLOCKED_SOURCE, f"outside the folders that may be read; {allow([folder])} allows it"
            )
        owner = os.lstat(followed.real).st_uid
        reason = why_not(followed, owner)
        if reason is not None:
            folder = os.path.dirname(followed.real)
            raise FetchError(
                ErrorClass.BLOCKED_SOURCE,
                f"a link that leads outside the folders that may be read, to {followed.real}, {reason}; "
                f"{allow([folder])} allows it",
            )
        descriptor = _open_file(followed.real)
        if os.fstat(descriptor).st_uid != owner:
            os.close(descriptor)
            raise FetchError(ErrorClass.BLOCKED_SOURCE, "changed its owner while it was opened")
        return descriptor, followed.real

    def _check_open(self, descriptor: int, real: str) -> os.stat_result:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FetchError(ErrorClass.BLOCKED_SOURCE, "not a regular file")
        if self._shows_open_files:
            # A folder may have been swapped for a link between the check and the open: ask what really is open.
            opened = os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
            if opened != real and not self._roots.hold(opened):
                raise FetchError(ErrorClass.BLOCKED_SOURCE, "moved outside the folders that may be read meanwhile")
        return found

    def _read_open(self, descriptor: int, real: str, block: FileBlock) -> Fetched:
        found = self._check_open(descriptor, real)
        size = found.st_size
        if size > self._limits.max_bytes:
            raise too_large(size, self._limits)
        data = _pread(descriptor, size, 0) if size > ALONE_BYTES else _read_into(block.room(size), descriptor)
        if len(data) != size or os.pread(descriptor, 1, size):
            raise FetchError(ErrorClass.SOURCE_CHANGED, "file changed its size while it was read")
        return Fetched(data, _etag(found))


def _open_file(real: str) -> int:
    return os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    """Up to `size` bytes from `offset`; fewer only at the end of the file."""
    data = os.pread(descriptor, size, offset)
    while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
        data += more
    return data


def _read_into(room: memoryview, descriptor: int) -> memoryview:
    """As much of the room as the file fills from its beginning on."""
    filled = 0
    while filled < len(room) and (more := os.readv(descriptor, [room[filled:]])):
        filled += more
    return room[:filled]
