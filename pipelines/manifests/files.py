"""Every file under a local folder, a bucket prefix or a glob: streamed, and in an order that depends on names only."""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Literal, NamedTuple

import obstore

from operators.storage.listing import list_objects
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, filesystem, object_store
from operators.storage.uris import file_version, is_nameable, split_uri
from pipelines.manifests.kept_names import kept_as
from pipelines.manifests.manifest import SourceConfig, SourceMissingError

LIST_CHUNK = 1000
_GLOB = re.compile(r"[*?\[]")
_BRACES = re.compile(r"\{[^{}/]*(?:\.\.|,)[^{}/]*\}")
_HIDDEN = re.compile(r"/\.(?!\.?(?:/|$))")
"""A part of a path that starts with `.`; `.` and `..` themselves, which keys may hold, are not meant."""


class SourceFile(NamedTuple):
    """A tuple, since there are as many as files: a frozen dataclass took 2.8 us each, and this takes 0.4."""

    uri: str
    """Absolute local path, or URI."""
    size: int
    tag: str | datetime | int
    """Of an object its etag, else when it was last written; of a local file the nanosecond of its last change."""
    link: Literal["file", "folder", "nothing"] | None = None
    """Of a local symbolic link: what it leads to."""

    @property
    def version(self) -> str:
        """`file_version`: differs when the file has been replaced."""
        return file_version(self.size, self.tag)

    @property
    def etag(self) -> str:
        """The etag that a fetch records of it: that of its object, or of a local file its modification time and size in
        hex. Of an object without one, when it was last written, which no fetch records."""
        return f"{self.tag:x}-{self.size:x}" if isinstance(self.tag, int) else str(self.tag)


@dataclass(frozen=True)
class Place:
    """The place of a source: `kind` is `file`, `folder`, `glob` or `web`."""

    kind: str
    uri: str
    """Absolute local path or URI; for a glob, the folder before its first wildcard."""
    pattern: str | None = None
    """Of a glob: all of it, `uri` letter for letter and wildcards below."""


class Listing:
    """The files of a place. What is asked first, its first page, is kept: that of a small place is asked once.

    Of links, those to files are files; `entries` has the others too.
    """

    def __init__(self, place: Place, storage: StorageOptions) -> None:
        self.place = place
        self.storage = storage
        self._rest = list_files(place, storage)
        self._beyond_first = False

    @cached_property
    def _first(self) -> list[SourceFile]:
        return list(islice(self._rest, LIST_CHUNK))

    @property
    def _is_whole(self) -> bool:
        return len(self._first) < LIST_CHUNK

    def __iter__(self) -> Iterator[SourceFile]:
        return (file for file in self.entries() if file.link in (None, "file"))

    def entries(self) -> Iterator[SourceFile]:
        """All that is listed, also links that lead to folders, which are not followed, and to nothing."""
        if self._beyond_first:
            yield from list_files(self.place, self.storage)
            return
        yield from self._first
        self._beyond_first = not self._is_whole
        yield from self._rest

    def directly_in(self, folder: str) -> list[SourceFile]:
        """The files right in a folder of a `folder` place; on this machine it may be a link to one."""
        uri = f"{self.place.uri.rstrip('/')}/{folder}"
        if "://" not in uri and not os.path.isdir(uri):
            return []
        known = "://" in uri and self._is_whole
        files = self._first if known else list_files(Place("folder", uri), self.storage)
        right_there = (file for file in files if file.uri.rpartition("/")[0] == uri)
        return [file for file in right_there if file.link in (None, "file")]


def locate(uri: str, storage: StorageOptions) -> Place:
    """The place of the source. Raises `SourceMissingError` where nothing is there."""
    if uri.startswith(("http://", "https://")):
        return Place("web", uri)
    scheme, bucket, key = split_uri(uri)
    if scheme == "file":
        return _locate_local(os.path.abspath(os.path.expanduser(key) if "://" not in uri else key), uri)
    return _locate_object(f"{scheme}://{bucket}", key, storage)


def list_files(place: Place, storage: StorageOptions, *, after: str | None = None) -> Iterator[SourceFile]:
    """The files of the place, hidden ones (a path component below the root that starts with `.`) left out.

    Local: sorted by name within each folder, symbolic links to folders given and not followed. Buckets: the store's own
    lexicographic order. Memory is bounded by the largest single local folder, or by one page of the listing. `after`:
    only objects of a bucket whose URIs come after it.
    """
    if place.kind in ("file", "web"):
        yield file_info(place.uri, storage)
        return
    files = _list_bucket(place.uri, storage, after) if "://" in place.uri else _list_local(place.uri, _depth(place))
    if place.pattern is None:
        yield from files
        return
    root = place.uri.rstrip("/") + "/"
    matches = glob_regex(place.pattern.removeprefix(root)).fullmatch
    yield from (file for file in files if matches(file.uri.removeprefix(root)))


def about_braces(uri: str) -> str:
    """What to write in place of `{00000..00099}`, which webdataset expands itself; empty where there are no braces."""
    glob = _BRACES.sub("*", uri)
    return "" if glob == uri else f"; braces are not expanded here: write {redact_uri(glob)}"


def unreadable() -> tuple[type[Exception], ...]:
    """What a place raises that cannot be listed or read; for an `except`, where it is asked once something was
    raised."""
    # None of its errors is there before it is, and importing it takes 0.25 s.
    web = sys.modules.get("aiohttp")
    return (obstore.exceptions.BaseError, OSError, *((web.ClientError,) if web else ()))


def file_info(uri: str, storage: StorageOptions) -> SourceFile:
    """Size and version of one file. Raises `SourceMissingError` where there is none, one of `unreadable()` where its
    server is not reached."""
    try:
        if "://" not in uri:
            status = os.stat(uri)
            link: Literal["file"] | None = "file" if os.path.islink(uri) else None
            return SourceFile(uri, status.st_size, status.st_mtime_ns, link)
        if not uri.startswith(("http://", "https://")):
            store, path = object_store(uri, storage)
            meta = obstore.head(store, path)
            return SourceFile(uri, meta["size"], meta["e_tag"] or meta["last_modified"])
        web, path = filesystem(uri, storage)
        info = web.info(path)
    except FileNotFoundError as error:
        aiohttp = sys.modules.get("aiohttp")
        if aiohttp and isinstance(error.__cause__, aiohttp.ClientConnectionError):
            # fsspec says of a server that is not reached that it has no such file.
            raise error.__cause__ from None
        raise SourceMissingError(f"no file {redact_uri(uri)}; check the name and the storage options") from error
    return SourceFile(uri, info.get("size") or 0, info.get("ETag") or info.get("LastModified") or "")


def fetched_etag(uri: str, version: str) -> str:
    """The etag that a fetch records of a file of this `SourceFile.version`, as `SourceFile.etag` is."""
    size, _, tag = version.partition("-")
    return SourceFile(uri, int(size), tag if "://" in uri else int(tag)).etag


def manifest_digest(files: Iterable[SourceFile], uri_column: str | None, config: SourceConfig, kind: str) -> str:
    """sha256 over each file's place and version, and over what is read from it.

    The whole URI counts, not only the path below the source: the same bytes elsewhere have other relative paths.
    """
    digest = hashlib.sha256(f"pixlake manifest 1 {kind}\n".encode())
    renamed = sorted(pair for pair in kept_as(config).items() if pair[0] != pair[1])
    # Without renaming as before: the manifests of older tables are known by it.
    digest.update(repr((uri_column, config.id_column, sorted(config.keep), *([renamed] if renamed else []))).encode())
    for file in files:
        digest.update(f"\n{redact_uri(file.uri)}\0{file.version}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def is_marker(uri: str, place: Place) -> bool:
    """Whether a file of the place is one of Spark's or Delta's own, which have a `_` before their name or that of a
    folder: of a folder and a glob alike, unless the glob says `_` there itself."""
    if place.kind not in ("folder", "glob"):
        return False
    below = uri[len(place.uri) :].split("/")
    named = [part for part in (place.pattern or "").split("/") if part.startswith("_")]
    return any(part.startswith("_") and not any(glob_regex(n).fullmatch(part) for n in named) for part in below)


def glob_regex(pattern: str) -> re.Pattern[str]:
    """`*` and `?` within one path component, `[abc]` and `[!abc]`, and `**` for any number of components."""
    out = []
    parts = pattern.split("/")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            out.append(".*" if last else "(?:[^/]+/)*")
            continue
        out.append(_component_regex(part) + ("" if last else "/"))
    return re.compile("".join(out), re.DOTALL)


def _component_regex(part: str) -> str:
    out, rest = "", part
    while rest:
        bracket = re.match(r"\[(!?)(\]?[^\]]*)\]", rest)
        if bracket:
            body = re.sub(r"([\\\[\]^])", r"\\\1", bracket[2])
            out, rest = f"{out}(?!/)[{'^' if bracket[1] else ''}{body}]", rest[bracket.end() :]
            continue
        out += {"*": "[^/]*", "?": "[^/]"}.get(rest[0], re.escape(rest[0]))
        rest = rest[1:]
    return out


def _locate_object(root: str, key: str, storage: StorageOptions) -> Place:
    """What the key itself names comes first: brackets and the like may be part of it."""
    folder = f"{root}/{key}".rstrip("/")
    if is_nameable(key) and _is_there(f"{root}/{key}", storage):
        return Place("file", folder)
    if _GLOB.search(key) and not _is_folder(folder, storage):
        above = _glob_root(key, lambda part: _is_folder(f"{root}/{part}", storage))
        return Place("glob", f"{root}/{above}".rstrip("/"), f"{root}/{key}")
    return Place("folder", folder)


def _is_there(uri: str, storage: StorageOptions) -> bool:
    store, path = object_store(uri, storage)
    try:
        obstore.head(store, path)
    except FileNotFoundError:
        return False
    return True


def _is_folder(uri: str, storage: StorageOptions) -> bool:
    return next(list_objects(uri, storage), None) is not None


def _locate_local(path: str, written: str) -> Place:
    if os.path.isdir(path):
        return Place("folder", path)
    if os.path.exists(path):
        return Place("file", path)
    if _GLOB.search(path):
        root = "/" + _glob_root(path.lstrip("/"), lambda part: os.path.isdir("/" + part))
        if os.path.isdir(root):
            return Place("glob", root.rstrip("/") or "/", path)
        raise SourceMissingError(
            f"{written}: no folder {root} to match in; check the path (the working folder is {os.getcwd()})"
        )
    first, slash, rest = os.path.relpath(path).partition("/")
    bucket = f"; in a bucket write s3://{first}/{rest}" if slash and not os.path.exists(first) else ""
    raise SourceMissingError(
        f"no file or folder {path}{about_braces(written)}; check the path (the working folder is {os.getcwd()}){bucket}"
    )


def _glob_root(key: str, is_folder: Callable[[str], bool]) -> str:
    """The folders before the first wildcard: `a[1]` is none where there is a folder of that very name."""
    parts = key.split("/")
    for at, part in enumerate(parts[:-1]):
        if _GLOB.search(part) and not is_folder("/".join(parts[: at + 1])):
            return "/".join(parts[:at])
    return "/".join(parts[:-1])


def _depth(place: Place) -> int | None:
    """Folders below the root that a glob can match; None is any number."""
    if place.pattern is None or "**" in place.pattern.split("/"):
        return None
    return place.pattern.count("/") - place.uri.rstrip("/").count("/") - 1


def _list_local(root: str, depth: int | None) -> Iterator[SourceFile]:
    """Depth first with `name/` as the sort key of a folder: the order in which a bucket lists the same tree. A link
    that leads to itself leads to nothing: unlike `os.path`, an entry raises where it is asked what that is."""
    with os.scandir(root) as entries:
        visible = [entry for entry in entries if entry.name[0] != "."]
    folders = {entry.name for entry in visible if entry.is_dir(follow_symlinks=False)}
    visible.sort(key=lambda entry: os.fsencode(entry.name + "/" if entry.name in folders else entry.name))
    for entry in visible:
        if entry.name in folders:
            if depth != 0:
                yield from _list_local(entry.path, None if depth is None else depth - 1)
        elif entry.is_symlink():
            if os.path.isfile(entry):
                status = entry.stat()
                yield SourceFile(entry.path, status.st_size, status.st_mtime_ns, "file")
            else:
                yield SourceFile(entry.path, 0, "", "folder" if os.path.isdir(entry) else "nothing")
        elif entry.is_file():
            status = entry.stat()
            yield SourceFile(entry.path, status.st_size, status.st_mtime_ns)


def _list_bucket(root: str, storage: StorageOptions, after: str | None) -> Iterator[SourceFile]:
    scheme, bucket, prefix = split_uri(root)
    above = f"{prefix}/" if prefix else ""
    behind = None if after is None else after.removeprefix(f"{scheme}://{bucket}/")
    for key, size, tag in list_objects(root, storage, after=behind):
        if not _HIDDEN.search("/" + key.removeprefix(above)):
            yield SourceFile(f"{scheme}://{bucket}/{key}", size, tag)
