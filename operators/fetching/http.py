"""Reads http(s): each hop's address is checked on the socket about to connect, so no name or redirect gets round it."""

import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from operators.base.errors import ErrorClass
from operators.fetching.addresses import Cidr, is_public
from operators.fetching.attempt import (
    Attempts,
    ByteBudget,
    Fetched,
    FetchError,
    Limits,
    decoded,
    error_of_status,
    too_large,
)
from operators.storage.redact import redact_uri

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 3
MAX_RETRY_AFTER_S = 60.0
_DNS_CACHE_S = 60


class _BlockedAddressError(OSError):
    """Says nothing but that an address is refused, so that several refused addresses of one name come out as one
    error."""

    def __init__(self) -> None:
        super().__init__("address is not public")


class HttpReader:
    """GET with hand-followed redirects. Belongs to one running event loop; `close` it there."""

    def __init__(
        self,
        limits: Limits,
        budget: ByteBudget,
        *,
        allowed: Sequence[Cidr],
        schemes: frozenset[str],
        user_agent: str,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._limits = limits
        self._budget = budget
        self._allowed = allowed
        self._schemes = schemes
        connector = aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=_DNS_CACHE_S, resolver=resolver, socket_factory=self._open_socket
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity", "Accept": "image/*,*/*;q=0.8"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s, sock_read=limits.first_byte_s),
        )

    async def close(self) -> None:
        await self._session.close()

    async def read(self, uri: str, tally: Attempts, etag: str | None = None) -> Fetched:
        """The object behind the URI; with an `etag`, or a date in place of one, only where it is another one. Raises
        `FetchError`."""
        url = parse_url(uri)
        headers = None if etag is None else {_asks_by(etag): etag}
        try:
            for hop in range(MAX_REDIRECTS + 1):
                tally.requests += 1
                request = self._session.get(url, allow_redirects=False, headers=headers)
                async with as_fetch_errors(), request as response:
                    if etag is not None and response.status == 304:
                        return Fetched(b"", etag, not_modified=True)
                    if response.status not in _REDIRECTS:
                        return await self._body(response, tally)
                    url = self._next_hop(url, response, hop)
        except ValueError as error:
            raise FetchError(ErrorClass.BAD_URI, f"not a usable URL: {error}") from error
        raise FetchError(ErrorClass.BAD_RESPONSE, f"more than {MAX_REDIRECTS} redirects")

    def _open_socket(self, address: Any) -> socket.socket:
        family, kind, protocol, _, where = address
        if not is_public(where[0], self._allowed):
            raise _BlockedAddressError
        return socket.socket(family, kind, protocol)

    def _next_hop(self, url: URL, response: aiohttp.ClientResponse, hop: int) -> URL:
        location = response.headers.get("Location", "")
        if not location:
            raise FetchError(ErrorClass.BAD_RESPONSE, "redirect without a Location", http_status=response.status)
        if hop == MAX_REDIRECTS:
            raise FetchError(
                ErrorClass.BAD_RESPONSE, f"more than {MAX_REDIRECTS} redirects", http_status=response.status
            )
        try:
            target = url.join(URL(location, encoded=location.isascii()))
        except ValueError as error:
            raise FetchError(ErrorClass.BAD_RESPONSE, f"redirect to no URL: {error}") from error
        if target.scheme not in self._schemes & {"http", "https"} or (url.scheme, target.scheme) == ("https", "http"):
            raise FetchError(
                ErrorClass.BLOCKED_SOURCE,
                f"redirect from {url.scheme}: to {redact_uri(str(target))}",
                http_status=response.status,
            )
        return target

    async def _body(self, response: aiohttp.ClientResponse, tally: Attempts) -> Fetched:
        if response.status != 200:
            raise error_of_status(response.status, response.reason or "", retry_after_s(response))
        tally.answered = True
        limits, declared = self._limits, response.content_length
        if declared is not None and declared > limits.max_bytes:
            raise too_large(declared, limits)
        chunks: list[bytes] = []
        size = 0
        async with self._budget.reserve(limits.max_bytes if declared is None else declared, tally):
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > limits.max_bytes:
                    raise too_large(size, limits)
                chunks.append(chunk)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return Fetched(decoded(data, encoding, limits), _etag(response))


def _etag(response: aiohttp.ClientResponse) -> str | None:
    """The etag; without one, when the object was last changed."""
    return response.headers.get("ETag") or response.headers.get("Last-Modified")


def _asks_by(etag: str) -> str:
    """The header that asks for an object only if it is not the one that `_etag` gave this of."""
    try:
        parsedate_to_datetime(etag)
    except ValueError:
        return "If-None-Match"
    return "If-Modified-Since"


def parse_url(uri: str) -> URL:
    """The URL, unchanged where it is already encoded (signatures survive), else encoded. Raises `FetchError`."""
    if not uri.isprintable():
        raise FetchError(ErrorClass.BAD_URI, "URL with control characters")
    try:
        url = URL(uri, encoded=uri.isascii() and " " not in uri)
        if url.host and url.port is not None:
            return url
    except ValueError as error:
        raise FetchError(ErrorClass.BAD_URI, f"not a URL: {error}") from error
    raise FetchError(ErrorClass.BAD_URI, "URL without a host")


@asynccontextmanager
async def as_fetch_errors() -> AsyncIterator[None]:
    """Turns what aiohttp and its sockets raise into the `FetchError` that it means for one attempt."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise FetchError(ErrorClass.TIMEOUT, f"no connection in time: {error}", transient=True, of_host=True) from error
    except (TimeoutError, aiohttp.ServerTimeoutError) as error:
        raise FetchError(ErrorClass.TIMEOUT, f"no answer in time: {error}", transient=True) from error
    except aiohttp.ClientError as error:
        raise _classified(error) from error
    except OSError as error:
        raise FetchError(ErrorClass.UNAVAILABLE, f"connection failed: {error}", transient=True) from error


def _classified(error: aiohttp.ClientError) -> FetchError:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _BlockedAddressError):
        return FetchError(
            ErrorClass.BLOCKED_SOURCE,
            f"{error.host} is at an address that is not public; allowed_cidrs can allow it",
        )
    if isinstance(error, aiohttp.InvalidURL):
        numeric = "canonical" in str(error)
        return FetchError(ErrorClass.BLOCKED_SOURCE if numeric else ErrorClass.BAD_URI, f"not a usable URL: {error}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        transient = getattr(error.os_error, "errno", None) not in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5))
        return FetchError(ErrorClass.UNAVAILABLE, f"no address for {error.host}", transient=transient)
    if isinstance(error, aiohttp.ClientResponseError):
        return FetchError(ErrorClass.BAD_RESPONSE, f"not HTTP: {error}")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return FetchError(ErrorClass.BAD_RESPONSE, f"certificate of {error.host} refused: {error.certificate_error}")
    return FetchError(ErrorClass.UNAVAILABLE, f"connection failed: {error or type(error).__name__}", transient=True)


def retry_after_s(response: aiohttp.ClientResponse) -> float:
    """Seconds of the Retry-After header, as a number or a date, at most a minute; 0 where there is none."""
    text = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
