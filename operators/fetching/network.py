"""All network reads of one actor: the readers of its event loop, and how many requests may be in flight at once."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from operators.base.errors import ErrorClass, Failure
from operators.fetching.addresses import parse_networks
from operators.fetching.attempt import Attempts, ByteBudget, Fetched, FetchError, Limits
from operators.fetching.loop_thread import cancel_all_but_current
from operators.fetching.objects import ObjectReader
from operators.fetching.options import FetchOptions
from operators.fetching.retry import RetryLimits, read_with_retries
from operators.fetching.spans import ByteSpan
from operators.storage.uris import StorageError

if TYPE_CHECKING:
    from operators.fetching.http import HttpReader


@dataclass(slots=True)
class Row:
    """The result of one row: `fetched` and `sha256` (hex), or `failure`."""

    tally: Attempts = field(default_factory=Attempts)
    fetched: Fetched | None = None
    sha256: str | None = None
    failure: Failure | None = None
    asked_by: str | None = None
    """The etag by which an http server is asked."""

    @property
    def not_modified(self) -> bool:
        return self.fetched is not None and self.fetched.not_modified

    def keep(self, fetched: Fetched) -> None:
        self.fetched = fetched
        if fetched.not_modified:
            return
        self.sha256 = sha256_of(fetched.data)


def sha256_of(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data, usedforsecurity=False).hexdigest()


def failure_of(error: FetchError | StorageError, attempts: int) -> Failure:
    if isinstance(error, StorageError):
        return Failure(error_class=ErrorClass.BAD_URI, message=str(error), attempts=max(attempts, 1))
    return Failure(
        error_class=error.error_class,
        message=str(error),
        http_status=error.http_status,
        attempts=max(attempts, 1),
    )


class Network:
    """The readers of one running event loop."""

    def __init__(self, config: FetchOptions, limits: Limits) -> None:
        self._config, self._limits = config, limits
        self._budget = ByteBudget(config.max_bytes_in_flight)
        self._http: HttpReader | None = None
        self._objects = ObjectReader(limits, self._budget, config.storage)
        self._retry = RetryLimits(max_attempts=config.max_attempts, retry_s=config.retry_s, object_s=config.object_s)
        self._all = asyncio.Semaphore(config.max_concurrency)
        self._hosts = _Hosts(config.max_per_host)
        self._rng = random.Random()

    async def read_all(self, items: Iterable[tuple[Row, str, str]]) -> None:
        """Fill each row from its (scheme, uri)."""
        await asyncio.gather(*(self._read(*item) for item in items))

    async def read_spans(self, spans: Iterable[ByteSpan]) -> None:
        """Fill each span of a packed object."""
        await asyncio.gather(*(self._read_span(span) for span in spans))

    async def close(self) -> None:
        await cancel_all_but_current()
        if self._http is not None:
            await self._http.close()

    async def _read(self, row: Row, scheme: str, uri: str) -> None:
        try:
            if scheme in ("http", "https"):
                async with self._hosts.gate(uri.split("/", 3)[2].lower()) as host:
                    read = partial(self._http_reader().read, uri, row.tally, row.asked_by)
                    row.keep(await read_with_retries(read, (host, self._all), self._retry, row.tally, self._rng))
            else:
                read = partial(self._objects.read, uri, row.tally)
                row.keep(await read_with_retries(read, (self._all,), self._retry, row.tally, self._rng))
        except (FetchError, StorageError) as error:
            row.failure = failure_of(error, row.tally.attempts)

    async def _read_span(self, span: ByteSpan) -> None:
        try:
            read = partial(self._objects.read_span, span, span.tally)
            span.result = await read_with_retries(read, (self._all,), self._retry, span.tally, self._rng)
        except FetchError as error:
            span.result = error

    def _http_reader(self) -> "HttpReader":
        if self._http is None:
            # Here and not at the top: aiohttp takes a quarter of a second, and most runs read no http.
            from operators.fetching.http import HttpReader

            self._http = HttpReader(
                self._limits,
                self._budget,
                allowed=parse_networks(self._config.allowed_cidrs),
                schemes=frozenset(self._config.schemes),
                user_agent=self._config.user_agent,
            )
        return self._http


class _Hosts:
    """A semaphore for every host that a row is waiting for or reading from, and for no other."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def gate(self, host: str) -> AsyncIterator[asyncio.Semaphore]:
        semaphore = self._gates.setdefault(host, asyncio.Semaphore(self._limit))
        self._users[host] = self._users.get(host, 0) + 1
        try:
            yield semaphore
        finally:
            self._users[host] -= 1
            if not self._users[host]:
                del self._users[host], self._gates[host]


async def open_network(config: FetchOptions, limits: Limits) -> Network:
    """Gives a `Network` on the running loop."""
    return Network(config, limits)
