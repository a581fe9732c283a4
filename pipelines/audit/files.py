"""Whether the files that a table lists are in its storage, with the bytes that they should have."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import obstore
from obstore.exceptions import BaseError

from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, object_store
from pipelines.audit.faults import Fault, about_names

_KINDS = ("data", "_deletions", "_indices")
"""Folders of a Lance table whose files versions list."""


@dataclass(frozen=True)
class ListedFiles:
    """The files of one version of a table, as names within the table's folder."""

    files: dict[str, int | None]
    """Name -> bytes, None where the version does not say."""
    indexes: dict[str, str]
    """Folder of an index -> its name."""


def listed_files(dataset: Any) -> ListedFiles:
    """What a version (a Lance dataset) lists. Files that lie in another table's folder (shallow clones) are left
    out."""
    files: dict[str, int | None] = {}
    for fragment in dataset.get_fragments():
        for file in fragment.metadata.files:
            if getattr(file, "base_id", None) is None:
                files[f"data/{file.path}"] = file.file_size_bytes
        deletions = fragment.deletion_file()
        if deletions:
            files[deletions] = None
    indexes = {
        f"_indices/{segment.uuid}/": index.name for index in dataset.describe_indices() for segment in index.segments
    }
    return ListedFiles(files, indexes)


@dataclass(frozen=True)
class FilesAudit:
    """Faults, and what lies there that the version does not list."""

    faults: tuple[Fault, ...]
    broken_indexes: tuple[str, ...]
    """Names of indexes of which a file is gone."""
    unlisted: int
    """Files of earlier versions, and of runs that were killed."""
    unlisted_bytes: int


def audit_files(where: str, dataset: Any, uri: str, storage: StorageOptions) -> FilesAudit:
    """Compare the files of the version with the listing of its storage. Raises `OSError` where that fails."""
    listed, there = listed_files(dataset), dict(_stored(uri, storage))
    gone = [name for name in listed.files if name not in there]
    cut = [name for name, size in listed.files.items() if size and there.get(name, size) != size]
    broken = {name for folder, name in listed.indexes.items() if not any(each.startswith(folder) for each in there)}
    faults = [
        *about_names("file_missing", where, gone, "files that the table lists are not there"),
        *about_names("file_missing", where, sorted(broken), "indexes have no files any more"),
        *about_names("file_size", where, cut, "files have another size than the table says"),
    ]
    other = {
        name: size
        for name, size in there.items()
        if name not in listed.files and not any(name.startswith(folder) for folder in listed.indexes)
    }
    return FilesAudit(tuple(faults), tuple(sorted(broken)), len(other), sum(other.values()))


def _stored(uri: str, storage: StorageOptions) -> Iterator[tuple[str, int]]:
    """(name, bytes) of the files in the folders that versions list from."""
    store, prefix = object_store(uri, storage)
    try:
        for kind in _KINDS:
            for page in obstore.list(store, prefix=f"{prefix}/{kind}"):
                for meta in page:
                    yield meta["path"].removeprefix(f"{prefix}/"), meta["size"]
    except BaseError as error:
        raise OSError(f"{uri}: cannot be listed: {reason_of(error)}") from None
