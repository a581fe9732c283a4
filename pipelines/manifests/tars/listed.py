"""The images of a folder or prefix, each with what files beside it say of it: paired as the members of a tar are, on
request."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

import obstore

from operators.base.counted import counted
from operators.fetching.links import Roots, why_not
from operators.storage.stores import StorageOptions, object_store
from operators.storage.uris import is_nameable
from pipelines.manifests.file_kinds import is_image_name
from pipelines.manifests.files import Listing, SourceFile
from pipelines.manifests.kept_names import check_names
from pipelines.manifests.lines.text import MAX_LINE_BYTES
from pipelines.manifests.manifest import SourceConfig, SourceError, check_columns
from pipelines.manifests.tars.samples import (
    JSON,
    KEY,
    Sample,
    ids_of,
    is_wanted,
    names_of,
    split_name,
    stem_of,
    value_of,
)

FOLDER = "folder"
"""The kept column that no file beside an image says: the name of the folder in which the image lies."""
_HELD_FILES = 65_536
_LOOKED_AT = 1000
"""Images at the start of a listing of which one must have what is asked for."""
_THREADS = 16
_NOTHING_BESIDE: Mapping[str, SourceFile] = MappingProxyType({})


class ListedImage(NamedTuple):
    """A listed image, and the files of its key that are read for its columns."""

    file: SourceFile
    key: str = ""
    ending: str = ""
    beside: Mapping[str, SourceFile] = _NOTHING_BESIDE
    """Ending -> file."""


class ListingNotes:
    """Filled while files beside images are read."""

    def __init__(self) -> None:
        self.unread = 0

    def lines(self) -> tuple[str, ...]:
        if not self.unread:
            return ()
        what = "cannot be read (gone, no JSON object, not UTF-8, or over 1 MiB): these images' kept columns are null"
        return (f"{counted(self.unread, 'file')} beside images {what}",)


def asked_columns(config: SourceConfig) -> set[str]:
    """Columns that files beside the images are to say."""
    return {*config.keep} - {FOLDER} | ({config.id_column} if config.id_column else set())


def listed_images(files: Iterable[SourceFile], root: str, asked: set[str] | None) -> Iterator[ListedImage]:
    """The images in the listing's order, with the files beside them that may say what is asked for; all files beside
    them for None.

    A listing is sorted, so that the files of a key lie together, but for folders of nearly the same name: images wait
    until 65,536 files are held. `root` is the folder that keys start from.
    """
    if asked is not None and not asked:
        yield from (ListedImage(file) for file in files if is_image_name(file.uri))
        return
    held: list[ListedImage] = []
    beside: dict[str, dict[str, SourceFile]] = {}
    count = 0
    for file in files:
        key, ending = split_name(file.uri[len(root) :].lstrip("/"))
        image = is_image_name(file.uri)
        if not image and asked is not None and not is_wanted(ending, asked):
            continue
        if count >= _HELD_FILES and key not in beside:
            yield from held
            held, beside, count = [], {}, 0
        if not image and file.link and not _may_follow(file.uri, root):
            continue
        count += 1
        of_key = beside.setdefault(key, {})
        if image:
            held.append(ListedImage(file, key, ending, of_key))
        else:
            of_key[ending] = file
    yield from held


def _may_follow(path: str, root: str) -> bool:
    """Whether a link leads to what is in the listed folder, or to the user's own: else it is read as little as an image
    behind it would be."""
    roots = Roots((root,))
    try:
        followed = roots.followed(path)
        return followed is None or roots.hold(followed.real) or why_not(followed, os.stat(followed.real).st_uid) is None
    except OSError:
        return False


def check_listed_columns(files: Listing, config: SourceConfig) -> None:
    """Raises `SourceError` where a column is asked for that no file beside the first 1,000 images gives, or has a name
    that no table can hold, or where `folder` is, and files beside the first images have a column of that name."""
    if config.uri_column is not None:
        raise SourceError("uri_column is set, but a listing of images has none; leave it out")
    if config.version_columns:
        raise SourceError(
            "version_columns is set, but a listing says itself which version of each image there is; leave it out"
        )
    if not config.keep and config.id_column is None:
        if config.rename:
            raise SourceError("rename is set, but keep names no column; name it there too, or leave it out")
        return
    check_names(config)
    names, where = _names_beside(files, config), f"files beside the images of {files.place.pattern or files.place.uri}"
    if FOLDER in config.keep and FOLDER in names:
        raise SourceError(
            f"{where}: have a column {FOLDER!r} of their own, and keep means by it the name of each image's folder; "
            f"give the field another name in these files, or leave {FOLDER!r} out of keep"
        )
    # Of several images in a folder none has its name as an id.
    there = names if config.id_column == FOLDER else dict.fromkeys([*names, FOLDER])
    try:
        check_columns([*there], config, where)
    except SourceError as error:
        raise SourceError(
            f"{error}; for columns of a table, name its file (.csv, .parquet) in place of images"
        ) from None


def _names_beside(files: Listing, config: SourceConfig) -> dict[str, None]:
    """What files beside the first images say, read until all that is asked for has come; for `folder` alone, beside a
    few."""
    asked, names = asked_columns(config), {KEY: None}
    listed = files if asked else islice(files, _LOOKED_AT)
    first = islice(listed_images(listed, files.place.uri, None), _LOOKED_AT)
    look = FOLDER in config.keep
    while (look or not names.keys() >= asked) and (images := list(islice(first, _THREADS))):
        look = False
        with_fields = [image._replace(beside=_only_json(image.beside)) for image in images]
        for image, sample in zip(images, _read(with_fields, {JSON}, files.storage, ListingNotes()), strict=True):
            texts = image.beside.keys() - sample.fields.keys()
            fields = (name for each in sample.fields.values() for name in each)
            names |= dict.fromkeys(names_of(sorted(texts), fields, [stem_of(image.ending)]))
    return names


def _only_json(beside: Mapping[str, SourceFile]) -> dict[str, SourceFile]:
    return {ending: file for ending, file in beside.items() if is_wanted(ending, {JSON})}


def says_something(file: SourceFile, config: SourceConfig) -> bool:
    """Whether it is read for the images' columns."""
    return is_wanted(split_name(file.uri)[1], asked_columns(config))


def read_beside_images(
    images: Sequence[ListedImage], config: SourceConfig, storage: StorageOptions, notes: ListingNotes
) -> tuple[list[list[str | None]], dict[int, str]]:
    """(the id and the kept columns, a value for each image, null where no file says it; the indices of images without
    an id, and why)."""
    folders: list[str | None] = [image.file.uri.rpartition("/")[0].rpartition("/")[2] for image in images]
    if not asked_columns(config):
        return [[None] * len(images), *(folders for _ in config.keep)], {}
    samples = _read(images, asked_columns(config), storage, notes)
    said = [(sample, image.ending) for image, sample in zip(images, samples, strict=True)]
    ids, problems = ids_of(said, config.id_column)
    kept = [folders if name == FOLDER else [value_of(*each, name) for each in said] for name in config.keep]
    return [ids, *kept], problems


def _read(images: Sequence[ListedImage], asked: set[str], storage: StorageOptions, notes: ListingNotes) -> list[Sample]:
    """What is said of each image: a read a file, sixteen at a time. Nothing is read for `key` alone."""
    samples = {image.key: Sample(image.key) for image in images}
    files = {image.key: image.beside for image in images} if asked != {KEY} else {}
    wanted = [(key, ending, file) for key, beside in files.items() for ending, file in beside.items()]
    with ThreadPoolExecutor(_THREADS) as threads:
        contents = threads.map(lambda each: _content(each[2], storage), wanted)
        for (key, ending, _), data in zip(wanted, contents, strict=True):
            notes.unread += not samples[key].add(ending, data)
    return [samples[image.key] for image in images]


def _content(file: SourceFile, storage: StorageOptions) -> bytes | None:
    """None for more than 1 MiB, for what was taken away since it was listed, and for keys that no request can name."""
    if file.size > MAX_LINE_BYTES:
        return None
    try:
        if "://" not in file.uri:
            with open(file.uri, "rb") as local:
                return local.read(MAX_LINE_BYTES + 1)
        store, path = object_store(file.uri, storage)
        return bytes(obstore.get(store, path).bytes()) if is_nameable(path) else None
    except (FileNotFoundError, PermissionError):
        return None
