"""From the text in a manifest row to the absolute URI of an image, or the reason why it is none."""

import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urljoin

import pyarrow as pa
import pyarrow.compute as pc

from operators.storage.uris import StorageError, split_uri

MAX_URI_BYTES = 8192
_ABSOLUTE = r"^[A-Za-z][A-Za-z0-9+.\-]*://[^\x00-\x1f\x7f]+$"
_PRINTED = r"^[^\x00-\x1f\x7f]*[!-~][^\x00-\x1f\x7f]*$"
"""Of texts without control characters those that are surely no blanks alone."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LOOKS_LIKE_URI = re.compile(r"[^/?#]*://|(?i:data):")


class BadUri(ValueError):
    """The text is not a URI that a source can read. The message does not repeat it: it may hold a secret."""


def resolve_uris(texts: pa.Array, base: str) -> tuple[pa.Array, dict[int, str]]:
    """Absolute URIs (string, same length), null where the text is none, and the reason for each such index.

    `base` is the folder that relative paths start from: an absolute local path or a URI, without a trailing slash.
    Whole columns of absolute URIs pass at about 10 million rows a second; each other row costs 2 us.
    """
    absolute = pc.and_(
        pc.and_(
            pc.match_substring_regex(texts, _ABSOLUTE), pc.invert(pc.starts_with(texts, "file:", ignore_case=True))
        ),
        pc.less_equal(pc.binary_length(texts), MAX_URI_BYTES),
    )
    others = pc.indices_nonzero(pc.invert(pc.fill_null(absolute, False))).to_pylist()
    if not others:
        return texts, {}
    uris: list[str | None] = texts.to_pylist()
    reasons: dict[int, str] = {}
    for index in others:
        try:
            uris[index] = resolve_uri(uris[index], base)
        except BadUri as error:
            uris[index], reasons[index] = None, str(error)
    return pa.array(uris, pa.string()), reasons


def check_uris(texts: Sequence[str]) -> tuple[pa.Array, dict[int, str]]:
    """The texts (string, same length), null for one that `check_uri` refuses, and the reason for each such index."""
    try:
        uris = pa.array(texts, pa.string())
    except UnicodeEncodeError:
        doubted: Iterable[int] = range(len(texts))
    else:
        sound = pc.and_(pc.match_substring_regex(uris, _PRINTED), pc.less_equal(pc.binary_length(uris), MAX_URI_BYTES))
        doubted = pc.indices_nonzero(pc.invert(sound)).to_pylist()
    reasons: dict[int, str] = {}
    for index in doubted:
        try:
            check_uri(texts[index])
        except BadUri as error:
            reasons[index] = str(error)
    if reasons:
        uris = pa.array([None if index in reasons else text for index, text in enumerate(texts)], pa.string())
    return uris, reasons


def resolve_uri(text: str | None, base: str) -> str:
    """One absolute URI; a plain absolute path for a local file. Raises `BadUri`."""
    check_uri(text)
    assert text is not None
    if text[:5].lower() == "file:":
        return _local_path(text)
    if _SCHEME.match(text):
        if _SCHEME.fullmatch(text):
            raise BadUri("URI is a scheme with nothing behind it")
        return text
    if _LOOKS_LIKE_URI.match(text):
        raise BadUri("not a URI: the scheme is malformed, or is data:")
    if base.startswith(("http://", "https://")):
        return urljoin(base + "/", text)
    if text.startswith("/"):
        return os.path.normpath(text)
    if "://" not in base:
        return os.path.normpath(os.path.join(base, text))
    return _join_key(base, text)


def _local_path(uri: str) -> str:
    """The absolute path of a `file:` URI."""
    try:
        path = split_uri("file" + uri[4:])[2]
    except StorageError as error:
        raise BadUri("file: URI with a host; write file:///absolute/path") from error
    check_uri(path)
    if not path.startswith("/") or path == "/":
        raise BadUri("file: URI without an absolute path; write file:///absolute/path")
    return os.path.normpath(path)


def check_uri(text: str | None) -> None:
    """Raises `BadUri` for a text that is null, empty, too long, not Unicode, or has control characters."""
    if text is None:
        raise BadUri("URI is null")
    if not text or text.isspace():
        raise BadUri("URI is empty")
    if _CONTROL.search(text):
        raise BadUri("URI holds control characters")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise BadUri("URI is not valid UTF-8") from error
    if size > MAX_URI_BYTES:
        raise BadUri(f"URI is longer than {MAX_URI_BYTES} bytes ({size})")


def parent_folder(uri: str) -> str:
    """The folder of a file: absolute local path or URI, without a trailing slash and without a query."""
    if uri.startswith(("http://", "https://")):
        uri = uri.split("#")[0].split("?")[0]
    scheme, _, rest = uri.rpartition("://")
    folder = rest.rpartition("/")[0]
    return f"{scheme}://{folder}" if scheme else folder or "/"


def _join_key(base: str, text: str) -> str:
    scheme, _, rest = base.partition("://")
    bucket, _, folder = rest.partition("/")
    key = posixpath.normpath(posixpath.join(folder, text))
    if key in (".", "..") or key.startswith("../"):
        raise BadUri("relative path leads out of the bucket")
    return f"{scheme}://{bucket}/{key}"
