"""Indexes that a version of a table lists and this Lance passes over, because a newer one wrote them.

Lance 14 gives a BTREE on a table with stable row ids version 1. Lance 13 knows version 0: it warns, does not list such
an index, and does not update it when it writes, so that a reader with Lance 14 loses rows. No call of Lance 13 reports
it, so the list is read from the manifest's file, where it is one protobuf message.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import lance
import obstore
from lance.dataset import Index
from obstore.exceptions import BaseError

from operators.storage.stores import StorageOptions, object_store

_INDEX_SECTION = 6
"""Field of the manifest: offset in its file where the list of indexes begins."""
_UUID, _FIELDS, _NAME, _VERSION, _INDEX_VERSION = 1, 2, 3, 4, 7
"""Fields of an index. A UUID is a message of one field, 16 bytes."""
_NEWEST = (1 << 64) - 1
"""The last of all versions: a manifest's file is named by this minus its own version."""


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """One piece of an index that Lance passes over."""

    name: str
    column: str
    version: int
    """Version of its format."""
    segment: Index
    """The piece in the form in which an operation removes it."""


def passed_over(dataset: "lance.LanceDataset", storage: StorageOptions) -> list[PassedOver]:
    """The indexes that the table's version lists and Lance passes over. Raises `OSError` where the manifest cannot be
    read."""
    known = {str(segment.uuid) for index in dataset.describe_indices() for segment in index.segments}
    columns = {field.id(): field.name() for field in dataset.lance_schema.fields()}
    found = []
    for message in _messages(dataset, storage):
        fields = dict(_fields(message))
        uuid = UUID(bytes=bytes(dict(_fields(_bytes(fields[_UUID])))[1]))
        field_ids = list(_packed(fields.get(_FIELDS, b"")))
        version = int(fields.get(_INDEX_VERSION, 0))
        if str(uuid) in known or version == 0 or len(field_ids) != 1 or field_ids[0] not in columns:
            continue
        name = _bytes(fields[_NAME]).decode()
        segment = Index(
            uuid=str(uuid),
            name=name,
            fields=field_ids,
            dataset_version=int(fields.get(_VERSION, 0)),
            fragment_ids=set(),
            index_version=version,
        )
        found.append(PassedOver(name=name, column=columns[field_ids[0]], version=version, segment=segment))
    return found


def _messages(dataset: "lance.LanceDataset", storage: StorageOptions) -> Iterator[bytes]:
    manifest = dict(_fields(dataset._ds.serialized_manifest()))
    if _INDEX_SECTION not in manifest:
        return
    start = int(manifest[_INDEX_SECTION])
    store, prefix = object_store(dataset.uri, storage)
    path = f"{prefix.rstrip('/')}/_versions/{_NEWEST - dataset.version:020}.manifest"
    try:
        size = int.from_bytes(bytes(obstore.get_range(store, path, start=start, length=4)), "little")
        section = bytes(obstore.get_range(store, path, start=start + 4, length=size)) if size else b""
    except FileNotFoundError:
        # Named as Lance named manifests before 2024: no table of Pixlake's.
        return
    except BaseError as error:
        raise OSError(f"{dataset.uri}: the list of its indexes cannot be read: {error}") from error
    yield from (_bytes(value) for number, value in _fields(section) if number == 1)


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number -> value, of protobuf's wire format: a number, or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            size, at = _varint(message, at)
        yield key >> 3, message[at : at + size]
        at += size


def _packed(values: int | bytes) -> Iterator[int]:
    if isinstance(values, int):
        yield values
        return
    at = 0
    while at < len(values):
        value, at = _varint(values, at)
        yield value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
