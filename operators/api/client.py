"""Asks an API for vectors: one request an image or text, many in flight, within a quota that others share."""

import asyncio
import random
import socket
import ssl
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import aiohttp
import numpy as np

from operators.api.options import ApiError, ApiOptions
from operators.api.provider import ApiRequest, api_of
from operators.api.quota import Quota
from operators.api.slots import NotAttemptedError, Slots
from operators.api.tokens import GoogleTokens, NoTokens
from operators.base.errors import ErrorClass
from operators.fetching.attempt import Attempts, FetchError, error_of_status
from operators.fetching.http import as_fetch_errors, retry_after_s
from operators.fetching.loop_thread import LoopThread, cancel_all_but_current
from operators.fetching.retry import RetryLimits, read_with_retries
from operators.models.spec import ModelDescription
from operators.storage.redact import MASK, redact

_MAX_ANSWER_BYTES = 1 << 20
_THREADS = 4
_UNREACHED_ROWS = 20
"""Rows that may end without any answer of the API; after that its absence counts as the caller's trouble, not the
rows'."""

_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


class ApiClient:
    """Asks one API. Thread-safe. One event loop, one session of kept connections; `close` it."""

    def __init__(self, model: ModelDescription, options: ApiOptions, quota: Quota) -> None:
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="api")
        self._thread = LoopThread("api", threads)
        self._asker = self._thread.call(_open(model, options, quota, threads)).result()
        self._shut = weakref.finalize(self, _shut, self._thread, self._asker)

    def ask(self, request: ApiRequest, tally: Attempts) -> "Future[np.ndarray]":
        """A future of the vector, (dim,) float32.

        Its `result()` raises `FetchError` for a failure of this request alone, and `NotAttemptedError` where no more
        requests may be sent.
        """
        return self._thread.call(self._asker.ask(request, tally))

    def settle(self) -> None:
        """Wait until the quota knows of every request that was not charged."""
        self._thread.call(self._asker.slots.settle()).result()

    def close(self) -> None:
        """Close connections and end the threads; happens by itself when the client or the process ends."""
        self._shut()


async def _open(model: ModelDescription, options: ApiOptions, quota: Quota, threads: ThreadPoolExecutor) -> "_Asker":
    return _Asker(model, options, quota, threads)


def _shut(thread: LoopThread, asker: "_Asker") -> None:
    thread.shut(asker.close())


class _ApiPace:
    """The pace of an API: its quota says how often it may be asked, and every attempt may cost."""

    def __init__(self, limit: int) -> None:
        self._open = asyncio.Semaphore(limit)

    def turn(self, tally: Attempts) -> asyncio.Semaphore:
        return self._open

    def good(self) -> None:
        """Nothing follows from it."""

    def refused(self, error: FetchError, blamed: bool) -> float:
        return error.retry_after_s

    def silent_since(self, moment: float) -> bool:
        return False

    def blames(self, error: FetchError, tally: Attempts, began: float) -> bool:
        return error.error_class is not ErrorClass.THROTTLED


class _Asker:
    """Sends the requests. Belongs to one running event loop."""

    def __init__(self, model: ModelDescription, options: ApiOptions, quota: Quota, threads: ThreadPoolExecutor) -> None:
        self._api = api_of(model)
        self._dim = model.dim
        self._url = self._api.url(model, options)
        self._tokens = NoTokens() if options.anonymous else GoogleTokens(self._api.scopes, threads)
        self._gate = _ApiPace(options.max_concurrency)
        self._retry = RetryLimits(
            max_attempts=options.max_attempts, patience_s=lambda since: options.retry_s, object_s=options.request_s
        )
        self._rng = random.Random()
        self._answered = False
        self._unreached = 0
        self.slots = Slots(quota, threads)
        self._session = aiohttp.ClientSession(
            # A context of its own: aiohttp's is made when it is imported, with the certificates of that moment.
            connector=aiohttp.TCPConnector(limit=options.max_concurrency, ssl=ssl.create_default_context()),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "pixlake", "Content-Type": "application/json; charset=utf-8"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_s),
        )

    async def close(self) -> None:
        await cancel_all_but_current()
        await self._session.close()

    async def ask(self, request: ApiRequest, tally: Attempts) -> np.ndarray:
        try:
            return await self._ask(request, tally)
        except ApiError as error:
            await self.slots.refuse(str(error))
            raise NotAttemptedError(str(error)) from None

    async def _ask(self, request: ApiRequest, tally: Attempts) -> np.ndarray:
        attempt = partial(self._attempt, request, tally)
        try:
            return await read_with_retries(attempt, self._gate, self._retry, tally, self._rng)
        except FetchError as error:
            if self._answered:
                raise
            self._unreached += 1
            if self._unreached < _UNREACHED_ROWS:
                raise
            raise ApiError(f"{self._url} has answered none of {self._unreached} requests: {error}") from None

    async def _attempt(self, request: ApiRequest, tally: Attempts) -> np.ndarray:
        token = await self._tokens.token()
        status, answer, error = await self._post(request, token, tally)
        if status == 401 and token is not None:
            # It may have been revoked, or this machine's clock be wrong: another one is tried once.
            token = await self._tokens.token(rejected=token)
            status, answer, error = await self._post(request, token, tally)
        if token is not None:
            # Servers echo it in errors, and not only after `Bearer`.
            answer = answer.replace(token.encode(), MASK.encode())
        if error is None:
            return self._read_vector(request, answer)
        said = f"{error}: {self._api.read_error(answer)}"
        if token is not None:
            said = said.replace(token, MASK)
        if 300 <= status < 400 or self._api.refuses_caller(status, answer):
            raise ApiError(redact(f"{self._url} refuses every request: {said}"))
        raise FetchError(
            error.error_class,
            said,
            http_status=status,
            transient=error.transient,
            retry_after_s=error.retry_after_s,
        )

    def _read_vector(self, request: ApiRequest, answer: bytes) -> np.ndarray:
        try:
            return self._api.read_vector(request.kind, answer, self._dim)
        except FetchError:
            raise
        except Exception as error:
            # Whatever one answer does to its reader, such as nesting too deep for it, is about one row.
            raise FetchError(ErrorClass.BAD_RESPONSE, f"unreadable answer: {type(error).__name__}: {error}") from error

    async def _post(
        self, request: ApiRequest, token: str | None, tally: Attempts
    ) -> tuple[int, bytes, FetchError | None]:
        """(status, body, the error that the status means). Raises `FetchError` where there is no whole answer."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        await self.slots.take(tally)
        tally.requests += 1
        try:
            async with (
                as_fetch_errors(),
                self._session.post(self._url, data=request.body, headers=headers, allow_redirects=False) as response,
            ):
                answer = await _read(response)
        except FetchError as error:
            if isinstance(error.__cause__, _NEVER_SENT):
                # Whatever broke off later may have been answered, and charged, unseen.
                self.slots.give_back()
            if _is_no_address(error.__cause__):
                raise self._no_address(error) from None
            raise
        except ValueError as error:
            # A name that no resolver takes, such as one with a label of 64 characters.
            self.slots.give_back()
            raise self._no_address(error) from None
        self._answered = True
        if response.status == 200:
            return 200, answer, None
        self.slots.give_back()
        reason = response.reason or ""
        return response.status, answer, error_of_status(response.status, reason, retry_after_s(response))

    def _no_address(self, error: Exception) -> ApiError:
        return ApiError(
            redact(
                f"{self._url} cannot be asked: {error}; check api.endpoint, api.location and the network and "
                "certificates of the machine"
            )
        )


def _is_no_address(cause: BaseException | None) -> bool:
    """Whether the address itself is wrong: no such name, no URL, or an untrusted certificate."""
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return getattr(cause.os_error, "errno", None) in _NO_SUCH_NAME
    return isinstance(cause, (aiohttp.InvalidURL, aiohttp.ClientConnectorCertificateError))


_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = b""
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > _MAX_ANSWER_BYTES:
            raise FetchError(ErrorClass.BAD_RESPONSE, f"an answer of more than {_MAX_ANSWER_BYTES} bytes")
    return answer
