"""What a URI names: scheme, bucket and key, read the same way by everything that opens one."""

import os
import re
from urllib.parse import unquote

OBJECT_SCHEMES = frozenset({"s3", "gs", "az"})
NO_NAME = "key with an empty, . or .. part or control characters"
_NO_NAME = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f]")
_CANONICAL_SCHEME = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}


class StorageError(ValueError):
    """A place cannot be opened as it is named or configured; the message says which, why, and what to set."""


def split_uri(uri: str) -> tuple[str, str, str]:
    """(scheme, bucket, key). For plain paths and `file:` URIs the scheme is "file" and the key an absolute or relative
    path.

    Object keys are taken literally: `s3://b/a b/ü%20.jpg` is the key `a b/ü%20.jpg`. `file:` URIs are percent-decoded,
    as the standard says. Raises `StorageError` for a `file:` URI with a host or another scheme.
    """
    scheme, colon, rest = uri.partition("://")
    if not colon:
        if uri.startswith("file:"):
            return "file", "", unquote(uri[5:])
        return "file", "", uri
    scheme = scheme.lower()
    if scheme == "file":
        host, _, path = rest.partition("/")
        if host not in ("", "localhost"):
            raise StorageError(f"file URI names the host {host!r}; write file:///absolute/path")
        return "file", "", "/" + unquote(path)
    bucket, _, key = rest.partition("/")
    scheme = _CANONICAL_SCHEME.get(scheme, scheme)
    if not bucket:
        raise StorageError(f"{scheme} URI without a bucket; write {scheme}://BUCKET/KEY")
    return scheme, bucket, key


def from_anywhere(uri: str) -> str:
    """The same place for whoever stands in another folder: a relative local path is made absolute."""
    is_path = "://" not in uri and not uri.startswith("file:")
    return os.path.abspath(os.path.expanduser(uri)) if is_path else uri


def is_nameable(key: str) -> bool:
    """Whether obstore can name the object. It takes no key with an empty, `.` or `..` part or an ASCII control
    character, or reads it as another one (`/a.jpg`, `a.jpg/`); stores do."""
    return _NO_NAME.search(key) is None


def file_version(size: int, tag: object) -> str:
    """`size-etag` of an object, `size-mtime_ns` of a local file: differs when the file has been replaced."""
    return f"{size}-{tag}"
