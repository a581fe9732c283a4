"""All network reads of one actor: the readers of its event loop, and how many requests may be in flight at once."""

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from operators.base.errors import ErrorClass, Failure
from operators.fetching.addresses import parse_networks
from operators.fetching.attempt import Attempts, ByteBudget, Fetched, FetchError, Limits
from operators.fetching.loop_thread import cancel_all_but_current
from operators.fetching.objects import ObjectReader
from operators.fetching.options import FetchOptions, Waits
from operators.fetching.pace import HostPace, HostPaces, Shared
from operators.fetching.retry import RetryLimits, read_with_retries
from operators.fetching.spans import ByteSpan
from operators.storage.uris import StorageError

if TYPE_CHECKING:
    from operators.fetching.http import HttpReader

_LOOK_S = 0.2
"""Seconds between two looks at what is still missing of a batch."""


@dataclass(slots=True)
class Row:
    """The result of one row: `fetched` and `sha256` (hex), or `failure`, or why it was left undone (`aside`)."""

    tally: Attempts = field(default_factory=Attempts)
    fetched: Fetched | None = None
    sha256: str | None = None
    failure: Failure | None = None
    aside: str | None = None
    pace: HostPace | None = None
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


def sha256_of(data: bytes | memoryview) -> str:
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

    def __init__(self, config: FetchOptions, limits: Limits, waits: Waits) -> None:
        self._config, self._limits, self._waits = config, limits, waits
        self._budget = ByteBudget(config.max_bytes_in_flight)
        self._http: HttpReader | None = None
        self._objects = ObjectReader(limits, self._budget, config.storage)
        self._opened = time.monotonic()
        self._retry = RetryLimits(
            max_attempts=config.max_attempts, patience_s=self._patience_s, object_s=config.object_s
        )
        self._rng = random.Random()
        self._usual = UsualSeconds()
        self._paces = HostPaces(
            Shared(
                everyone=asyncio.Semaphore(config.max_concurrency),
                patience_s=self._patience_s,
                silence_is_the_objects=waits in (Waits.EACH, Waits.LAST),
                rng=self._rng,
                usual_s=lambda: self._usual.high,
                silent_s=config.aside_s,
                last_s=self._opened + config.retry_s if waits is Waits.LAST else float("inf"),
                first_byte_s=config.first_byte_s,
            )
        )

    async def read_all(self, items: Sequence[tuple[Row, str, str]]) -> None:
        """Fill each row from its (scheme, uri)."""
        await self._together([(row, self._read(row, scheme, uri)) for row, scheme, uri in items])

    async def read_spans(self, spans: Sequence[ByteSpan]) -> None:
        """Fill each span of a packed object."""
        await self._together([(span, self._read_span(span)) for span in spans])

    async def close(self) -> None:
        await cancel_all_but_current()
        if self._http is not None:
            await self._http.close()

    def _patience_s(self, since: float) -> float:
        if self._waits in (Waits.LAST, Waits.LAST_AND_LEAVE):
            return max(self._opened + self._config.retry_s - since, 0.0)
        return self._config.retry_s

    async def _together(self, reads: Sequence[tuple[Row | ByteSpan, Coroutine[Any, Any, None]]]) -> None:
        tasks = {asyncio.ensure_future(read): of for of, read in reads}
        if self._waits is not Waits.ASIDE:
            await asyncio.gather(*tasks)
            return
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, timeout=_LOOK_S)
            for task in done:
                task.result()
            most_are_there = len(pending) * 4 <= len(tasks)
            if all(self._slow(tasks[task], most_are_there) for task in pending):
                await self._set_aside({task: tasks[task] for task in pending})
                return

    def _slow(self, of: Row | ByteSpan, most_are_there: bool) -> bool:
        """Whether it takes long while others do not: most of its batch, or others at its host."""
        tally, pace = of.tally, of.pace
        if pace is None or (tally.waits and not pace.away):
            return False
        since = (tally.asked if tally.began is None else tally.began) + tally.waited_s
        seconds = time.monotonic() - since
        return seconds >= max(self._config.aside_s, 2 * self._usual.high) and (most_are_there or pace.well_at > since)

    async def _set_aside(self, pending: Mapping["asyncio.Task[None]", Row | ByteSpan]) -> None:
        for task in pending:
            task.cancel()
        for of, outcome in zip(pending.values(), await asyncio.gather(*pending, return_exceptions=True), strict=True):
            if isinstance(outcome, asyncio.CancelledError):
                of.aside = "it took longer than others, which went on without it"
            elif outcome is not None:
                raise outcome

    async def _read(self, row: Row, scheme: str, uri: str) -> None:
        try:
            if scheme in ("http", "https"):
                host = uri.split("/", 3)[2].lower()
                row.pace = self._paces.of(host, min(self._config.max_per_host, self._config.max_concurrency))
                read = partial(self._http_reader().read, uri, row.tally, row.asked_by)
            else:
                row.pace = self._paces.of(_bucket(scheme, uri), self._config.max_concurrency)
                read = partial(self._objects.read, uri, row.tally)
            row.keep(await self._with_retries(read, row.pace, row.tally))
        except StorageError as error:
            row.failure = failure_of(error, row.tally.attempts)
        except FetchError as error:
            if self._leaves(error):
                row.aside = str(error)
            else:
                row.failure = failure_of(error, row.tally.attempts)

    async def _read_span(self, span: ByteSpan) -> None:
        span.pace = self._paces.of(_bucket(*span.uri.split("://", 1)), self._config.max_concurrency)
        try:
            span.result = await self._with_retries(
                partial(self._objects.read_span, span, span.tally), span.pace, span.tally
            )
        except FetchError as error:
            if self._leaves(error):
                span.aside = str(error)
            else:
                span.result = error

    async def _with_retries(self, read: Callable[[], Awaitable[Fetched]], pace: HostPace, tally: Attempts) -> Fetched:
        tally.asked = time.monotonic()
        fetched = await read_with_retries(read, pace, self._retry, tally, self._rng)
        self._usual.took(time.monotonic() - (tally.began or tally.asked) - tally.waited_s)
        return fetched

    def _leaves(self, error: FetchError) -> bool:
        """Whether what it says is no row's fault, and another pass may end better."""
        if error.of_caller and error.transient:
            return self._waits is not Waits.EACH
        return error.away and self._waits in (Waits.ASIDE, Waits.LAST_AND_LEAVE)

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


def _bucket(scheme: str, uri: str) -> str:
    """The bucket's name among those of hosts; an http host has no scheme."""
    return f"{scheme}://{uri.partition('://')[2].partition('/')[0]}"


class UsualSeconds:
    """How long reads took, as TCP estimates a round trip (RFC 6298): a mean, and four mean deviations above it."""

    def __init__(self) -> None:
        self._mean = self._deviation = 0.0

    @property
    def high(self) -> float:
        """Seconds that few reads exceed; 0 before there was any."""
        return self._mean + 4 * self._deviation

    def took(self, seconds: float) -> None:
        if not self._mean:
            self._mean, self._deviation = seconds, seconds / 2
            return
        self._deviation += (abs(seconds - self._mean) - self._deviation) / 32
        self._mean += (seconds - self._mean) / 32


async def open_network(config: FetchOptions, limits: Limits, waits: Waits) -> Network:
    """Gives a `Network` on the running loop."""
    return Network(config, limits, waits)
