"""Reads s3://, gs:// and az:// with obstore: one GET per image, or per span of a packed object.

Its own retries are off, so that attempts are counted once.

A body is never resumed: one that breaks off is read again from its start, so the bytes of two versions cannot mix.
"""

import asyncio
import re
import time
from functools import partial
from typing import TYPE_CHECKING

import obstore

from operators.base.errors import ErrorClass
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
from operators.fetching.spans import ByteSpan, replaced
from operators.storage.stores import ObjectStore, StorageError, StorageOptions, object_store, renew_object_stores
from operators.storage.uris import NO_NAME, file_version, is_nameable, split_uri

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_SLOW = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "ServerBusy"})
_REFUSED_S = 15.0
"""Seconds for which a bucket that could not be opened is not tried again: a search for credentials takes seconds."""


class ObjectReader:
    """Reads objects. Belongs to one running event loop."""

    def __init__(self, limits: Limits, budget: ByteBudget, options: StorageOptions) -> None:
        self._limits = limits
        self._budget = budget
        self._options = options
        self._stores: dict[tuple[str, str], ObjectStore] = {}
        self._refused: dict[tuple[str, str], tuple[float, FetchError]] = {}
        self._opening = asyncio.Lock()

    async def read(self, uri: str, tally: Attempts) -> Fetched:
        """The object behind the URI. Raises `FetchError`."""
        scheme, bucket, key = split_uri(uri)
        result, data = await self._get(scheme, bucket, key, tally)
        encoding = str(result.attributes.get("Content-Encoding", "")).strip().lower()
        return Fetched(decoded(data, encoding, self._limits), result.meta["e_tag"])

    async def read_span(self, span: ByteSpan, tally: Attempts) -> Fetched:
        """The bytes of a span of a packed object. Raises `FetchError`."""
        result, data = await self._get(*split_uri(span.uri), tally, span)
        return Fetched(data, result.meta["e_tag"])

    async def _get(
        self, scheme: str, bucket: str, key: str, tally: Attempts, span: ByteSpan | None = None
    ) -> "tuple[GetResult, bytes]":
        if not is_nameable(key):
            raise FetchError(ErrorClass.BAD_URI, NO_NAME if key else f"no object key after {scheme}://BUCKET/")
        store = await self._store(scheme, bucket)
        tally.requests += 1
        options: GetOptions = {} if span is None else {"range": (span.start, span.stop)}
        try:
            async with asyncio.timeout(self._limits.connect_s + self._limits.first_byte_s):
                result = await obstore.get_async(store, key, options=options)
            tally.answered = True
            meta = result.meta
            # What the answer says itself, before its body is read: a store need not know If-Match.
            if span is not None and file_version(meta["size"], meta["e_tag"] or meta["last_modified"]) != span.version:
                raise replaced()
            size = meta["size"] if span is None else span.stop - span.start
            if span is None and size > self._limits.max_bytes:
                raise too_large(size, self._limits)
            async with self._budget.reserve(size, tally):
                data = bytes(await result.bytes_async())
        except (OSError, ValueError, obstore.exceptions.BaseError) as error:
            raise self._classified(error, store, scheme, bucket, span) from error
        if len(data) != size:
            raise FetchError(ErrorClass.UNAVAILABLE, f"body of {len(data)} bytes, {size} announced", transient=True)
        return result, data

    async def _store(self, scheme: str, bucket: str) -> ObjectStore:
        place = (scheme, bucket)
        if place in self._stores:
            return self._stores[place]
        async with self._opening:
            if place in self._stores:
                return self._stores[place]
            until, refusal = self._refused.get(place, (0.0, None))
            if refusal is not None and time.monotonic() < until:
                raise refusal
            # In a thread: botocore reads files and may ask a metadata service.
            opener = partial(
                object_store, f"{scheme}://{bucket}/", self._options, max_retries=0, timeout_s=self._limits.object_s
            )
            try:
                store, _ = await asyncio.get_running_loop().run_in_executor(None, opener)
            except (StorageError, ValueError, obstore.exceptions.BaseError) as error:
                refusal = FetchError(ErrorClass.FORBIDDEN, str(error), transient=not isinstance(error, StorageError))
                self._refused[place] = (time.monotonic() + _REFUSED_S, refusal)
                raise refusal from error
            self._stores[place] = store
            return store

    def _classified(
        self, error: Exception, store: ObjectStore, scheme: str, bucket: str, span: ByteSpan | None
    ) -> FetchError:
        if isinstance(error, TimeoutError):
            return FetchError(ErrorClass.TIMEOUT, "no answer in time", transient=True)
        text = str(error)
        status = int(found[1]) if (found := _STATUS.search(text)) else None
        code = found[1] if (found := _CODE.search(text)) else ""
        if code in _EXPIRED:
            # Once for all requests that were under way with them.
            if self._stores.get((scheme, bucket)) is store:
                del self._stores[scheme, bucket]
                renew_object_stores()
            return FetchError(
                ErrorClass.FORBIDDEN,
                f"credentials have expired: {code}",
                http_status=status,
                transient=True,
                of_caller=True,
            )
        if code in _SLOW:
            return FetchError(
                ErrorClass.THROTTLED, f"the store asks to slow down: {code}", http_status=status, transient=True
            )
        if span is not None and status == 416:
            return replaced()
        if status is not None:
            return error_of_status(status, code)
        if isinstance(error, FileNotFoundError):
            return FetchError(ErrorClass.NOT_FOUND, "no such object")
        if "BareRedirect" in text:
            return FetchError(
                ErrorClass.BAD_RESPONSE, f"bucket {bucket} is in another region; set the storage option region"
            )
        if "TimedOut" in text or "kind: Timeout" in text:
            return FetchError(ErrorClass.TIMEOUT, "no whole object in time", transient=True)
        return FetchError(ErrorClass.UNAVAILABLE, text.partition("\n")[0], transient=True)
