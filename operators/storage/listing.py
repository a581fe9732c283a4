"""The objects below a prefix of a bucket, their keys letter for letter.

obstore's own listing ends at a key that it cannot name (one with an empty part, say), and gives `/a.jpg` and `b.jpg/`
as `a.jpg` and `b.jpg`. So S3 is asked here, signed and sent by botocore; other stores by obstore.
"""

import os
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree

import obstore

from operators.storage.stores import NO_OPTIONS, StorageOptions, object_store, s3_credentials, s3_place
from operators.storage.uris import split_uri

if TYPE_CHECKING:
    from obstore.store import S3Credential

_ATTEMPTS = 10
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 15.0
_TIMEOUTS_S = (5.0, 30.0)
"""To connect, and between two reads."""


class ListedObject(NamedTuple):
    key: str
    size: int
    tag: str | datetime
    """The etag, in the quotes in which stores give it; else when it was last written."""


def list_objects(
    folder: str, options: StorageOptions = NO_OPTIONS, *, after: str | None = None
) -> Iterator[ListedObject]:
    """All objects below `folder` (`s3://bucket/prefix`, without a slash at its end), in the order of the store; those
    behind the key `after` alone, where the store lists by keys.

    Pages of 1,000 objects, one in memory; 3 ms of CPU each. Raises `OSError`, `StorageError`, obstore's errors.
    """
    scheme, bucket, key = split_uri(folder)
    prefix = f"{key}/" if key else ""
    if scheme == "s3":
        yield from _list_s3(bucket, prefix, options, after)
        return
    store, _ = object_store(folder, options)
    try:
        for page in obstore.list(store, prefix or None, offset=after):
            for meta in page:
                yield ListedObject(meta["path"], meta["size"], meta["e_tag"] or meta["last_modified"])
    except obstore.exceptions.BaseError as error:
        if "invalid path" not in str(error):
            raise
        raise OSError(
            f"the listing ends at an object that cannot be named: {error}; rename it, or name a prefix without it, or "
            "a manifest"
        ) from error


def _list_s3(bucket: str, prefix: str, options: StorageOptions, after: str | None) -> Iterator[ListedObject]:
    ask = _SignedGets(bucket, options)
    token: str | None = None
    while True:
        given = {"list-type": "2", "prefix": prefix}
        if token is not None:
            given["continuation-token"] = token
        elif after is not None:
            given["start-after"] = after
        try:
            objects, token = _parse(ask(given))
        except ElementTree.ParseError:
            # XML 1.0 cannot say most control characters. Not asked for at once: stores differ in how they encode a `+`.
            try:
                objects, token = _parse(ask(given | {"encoding-type": "url"}))
            except ElementTree.ParseError as error:
                raise OSError(f"no whole listing came back, but a part that cannot be read: {error}") from error
        yield from objects
        if token is None:
            return


def _parse(body: bytes) -> tuple[list[ListedObject], str | None]:
    """(objects of a page, the token of the next one), from the XML of ListObjectsV2. Raises `OSError` where there is a
    next one and no token: what has been listed so far would look like all there is."""
    root = ElementTree.fromstring(body)
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    plain: Callable[[str], str] = unquote_plus if root.findtext(f"{space}EncodingType") == "url" else str
    objects = [_object(each, space, plain) for each in root.iterfind(f"{space}Contents")]
    token = root.findtext(f"{space}NextContinuationToken") or None
    if token is None and root.findtext(f"{space}IsTruncated") == "true":
        raise OSError("the store says that there is more, and not where the listing goes on")
    return objects, token


def _object(found: ElementTree.Element, space: str, plain: Callable[[str], str]) -> ListedObject:
    def text(name: str) -> str:
        return found.findtext(f"{space}{name}") or ""

    tag = text("ETag") or datetime.fromisoformat(text("LastModified"))
    return ListedObject(plain(text("Key")), int(text("Size")), tag)


class _SignedGets:
    """Sends signed GETs to one bucket, again where the store is busy or the connection fails."""

    def __init__(self, bucket: str, options: StorageOptions) -> None:
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        place = s3_place(options)
        self._region = place.region or "us-east-1"
        self._url = f"{place.endpoint_url or f'https://s3.{self._region}.amazonaws.com'}/{quote(bucket)}"
        self._credentials = s3_credentials(options)
        authorities = os.environ.get("AWS_CA_BUNDLE") or ssl.get_default_verify_paths().cafile or True
        proxies = get_environ_proxies(self._url)
        self._session = URLLib3Session(verify=authorities, timeout=_TIMEOUTS_S, proxies=proxies)

    def __call__(self, query: dict[str, str]) -> bytes:
        """The body of the answer. Raises `OSError` with the store's reason, `FileNotFoundError` for no bucket."""
        from botocore.exceptions import BotoCoreError

        wait_s = _FIRST_WAIT_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = self._session.send(self._signed(query))
            except BotoCoreError as error:
                refusal = OSError(f"no answer: {error}")
            else:
                if answer.status_code == 200:
                    return bytes(answer.content)
                kind = FileNotFoundError if answer.status_code == 404 else OSError
                refusal = kind(f"HTTP {answer.status_code} {_reason(answer.content)}".rstrip())
                if answer.status_code not in (408, 429, 500, 502, 503, 504):
                    break
            if attempt < _ATTEMPTS:
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        raise refusal

    def _signed(self, query: dict[str, str]) -> Any:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        said = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(query.items()))
        request = AWSRequest("GET", f"{self._url}?{said}")
        if self._credentials is not None:
            key: S3Credential = self._credentials()
            signer = Credentials(key["access_key_id"], key["secret_access_key"], key.get("token"))
            S3SigV4Auth(signer, "s3", self._region).add_auth(request)
        return request.prepare()


def _reason(body: bytes) -> str:
    """Code and message of an error that S3 gives as XML; empty for anything else."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return ""
    return ": ".join(text for name in ("Code", "Message") if (text := root.findtext(name)))
