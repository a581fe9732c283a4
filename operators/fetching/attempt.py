"""One attempt to read one object: what it gives, how it fails, and what limits it. Shared by all readers."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from operators.base.errors import ErrorClass
from operators.storage.redact import redact


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Most bytes and seconds that one attempt may take."""

    max_bytes: int
    connect_s: float
    first_byte_s: float
    object_s: float


@dataclass(slots=True)
class Fetched:
    data: bytes | memoryview
    etag: str | None
    not_modified: bool = False
    """The server was asked by an etag, and has the object that it belongs to: there are no bytes."""


@dataclass(slots=True)
class Attempts:
    """Requests sent and attempts made for one row so far; redirects and retries are requests too."""

    requests: int = 0
    attempts: int = 0
    deadline: asyncio.Timeout | None = None
    """Deadline of the attempt under way."""
    asked: float = 0.0
    """When it first asked for its turn (`time.monotonic`)."""
    began: float | None = None
    """When the first attempt began."""
    answered: bool = False
    """The attempt under way, or the last one, was answered by a host that has the object: what fails then is the
    object's body."""
    waited_s: float = 0.0
    """Seconds, over all attempts, that the row waited for its turn."""
    waits: bool = False
    """It waits for its turn now."""

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Stops the row's deadline while it waits for others: it does not pay for their slowness."""
        asked = time.monotonic()
        self.waits = True
        when = self.deadline.when() if self.deadline is not None else None
        if self.deadline is not None and when is not None:
            self.deadline.reschedule(None)
        try:
            yield
        finally:
            waited = time.monotonic() - asked
            self.waits = False
            self.waited_s += waited
            if self.deadline is not None and when is not None:
                self.deadline.reschedule(when + waited)


class FetchError(Exception):
    """One attempt failed. `transient`: another attempt may succeed; `retry_after_s`: not before then; `away`: the host
    gave nothing to anyone; `of_caller`: it is the caller's credentials, and no row's fault; `of_host`: there was no
    connection."""

    def __init__(
        self,
        error_class: ErrorClass,
        message: str,
        *,
        http_status: int | None = None,
        transient: bool = False,
        retry_after_s: float = 0.0,
        away: bool = False,
        of_caller: bool = False,
        of_host: bool = False,
    ) -> None:
        super().__init__(redact(message))
        self.error_class = error_class
        self.http_status = http_status
        self.transient = transient
        self.retry_after_s = retry_after_s
        self.away = away
        self.of_caller = of_caller
        self.of_host = of_host


def too_large(size: int, limits: Limits) -> FetchError:
    return FetchError(ErrorClass.TOO_LARGE, f"{size} bytes or more, max_bytes is {limits.max_bytes}")


def error_of_status(status: int, reason: str, retry_after_s: float = 0.0) -> FetchError:
    """The failure that an HTTP status other than 200 means. 503 asks to slow down only when it says for how long."""
    message = f"HTTP {status} {reason}".rstrip()
    if status == 429 or (status == 503 and (retry_after_s or "slow" in reason.lower())):
        error_class, transient = ErrorClass.THROTTLED, True
    elif status in (404, 410):
        error_class, transient = ErrorClass.NOT_FOUND, False
    elif status in (401, 403, 407, 451):
        error_class, transient = ErrorClass.FORBIDDEN, False
    elif status == 408 or (status >= 500 and status not in (501, 505)):
        error_class, transient = ErrorClass.UNAVAILABLE, True
    else:
        error_class, transient = ErrorClass.BAD_RESPONSE, False
    return FetchError(error_class, message, http_status=status, transient=transient, retry_after_s=retry_after_s)


def decoded(data: bytes, encoding: str, limits: Limits) -> bytes:
    """The body with its Content-Encoding undone, never more than `max_bytes` of it. Raises `FetchError`."""
    if encoding in ("", "identity"):
        return data
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchError(ErrorClass.BAD_RESPONSE, f"Content-Encoding {encoding!r} is not supported")
    inflater = zlib.decompressobj(wbits=47)
    try:
        plain = inflater.decompress(data, limits.max_bytes + 1)
    except zlib.error as error:
        raise FetchError(ErrorClass.BAD_RESPONSE, f"body is not the {encoding} it says it is: {error}") from error
    if len(plain) > limits.max_bytes:
        raise too_large(len(plain), limits)
    if not inflater.eof:
        raise FetchError(ErrorClass.UNAVAILABLE, f"{encoding} body breaks off", transient=True)
    return plain


class ByteBudget:
    """Bounds the bytes of all bodies being read at once. For one event loop; first come, first served."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._taken = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, size: int, tally: Attempts) -> AsyncIterator[None]:
        """Wait until `size` bytes (at most the whole budget) are free, and hold them for the block."""
        size = min(size, self._capacity)
        with tally.waiting():
            async with self._turn:
                while self._taken + size > self._capacity:
                    self._freed.clear()
                    await self._freed.wait()
                self._taken += size
        try:
            yield
        finally:
            self._taken -= size
            self._freed.set()
