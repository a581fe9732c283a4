"""What a start that was cut off has written of a listing: found, read, and noted as a listing goes on."""

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import obstore

from operators.storage.stores import StorageOptions, object_store
from pipelines.manifests.files import Place
from pipelines.manifests.listings.digest import unpacked
from pipelines.manifests.manifest import SourceConfig
from pipelines.manifests.normalized import RECORD, work_files
from pipelines.manifests.parts import part_name

_NOTE = "listed.json"
_FORMAT = 1
_COPIES = 16
_FRESH_S = 3600.0
"""So long after its last part a listing goes on where it was: as if the store had been slow for so long."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """How far a listing has come: whole parts alone."""

    parts: int
    after: str | None
    """URI of the last image in them; None where the listing is not in the order of its URIs, and nobody could go on
    behind one."""
    unread: int
    """Files beside images that could not be read."""
    noted_at: float
    """Seconds since 1970."""

    def is_fresh(self) -> bool:
        return abs(time.time() - self.noted_at) <= _FRESH_S


@dataclass(frozen=True, kw_only=True)
class BegunListing:
    """The folder of one start. No other start writes to it: a driver that is taken for dead may be alive."""

    folder: str
    key: str
    """What was to be listed, and as what."""
    storage: StorageOptions

    def note(self, parts: int, after: str | None, unread: int) -> None:
        noted = {"format": _FORMAT, "key": self.key, "parts": parts, "after": after, "unread": unread}
        self._put(_NOTE, json.dumps(noted | {"noted_at": time.time()}).encode())

    def keep_seen(self, part: int, packed: bytes) -> None:
        self._put(_seen_name(part), packed)

    def seen(self, parts: int) -> Iterator[bytes]:
        """What went into the digest, part by part."""
        store, folder = object_store(self.folder, self.storage)
        for part in range(parts):
            yield unpacked(bytes(obstore.get(store, f"{folder}/{_seen_name(part)}").bytes()))

    def take_over(self, earlier: "BegunListing", parts: int) -> None:
        """Copy another start's parts here, within the store."""
        store, here = object_store(self.folder, self.storage)
        _, there = object_store(earlier.folder, self.storage)
        names = [name for part in range(parts) for name in (part_name(part), _seen_name(part))]
        with ThreadPoolExecutor(_COPIES) as threads:
            list(threads.map(lambda name: obstore.copy(store, f"{there}/{name}", f"{here}/{name}"), names))

    def forget(self, parts: int) -> None:
        """Remove all but the parts, once the listing is whole."""
        if parts:
            store, folder = object_store(self.folder, self.storage)
            obstore.delete(store, [f"{folder}/{name}" for name in (_NOTE, *map(_seen_name, range(parts)))])

    def _put(self, name: str, data: bytes) -> None:
        store, path = object_store(f"{self.folder}/{name}", self.storage)
        obstore.put(store, path, data)


def find_begun(work_uri: str, key: str, storage: StorageOptions) -> tuple[BegunListing, Note] | None:
    """The unfinished listing of that key that has come farthest."""
    store, _ = object_store(work_uri, storage)
    paths = work_files(work_uri, storage)
    finished = {path.rpartition("/")[0] for path in paths if path.endswith("/" + RECORD)}
    found: list[tuple[BegunListing, Note]] = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if name != _NOTE or folder in finished:
            continue
        noted = json.loads(bytes(obstore.get(store, path).bytes()))
        if noted.pop("format") == _FORMAT and noted.pop("key") == key:
            uri = f"{work_uri.rstrip('/')}/{folder.rpartition('/')[2]}"
            found.append((BegunListing(folder=uri, key=key, storage=storage), Note(**noted)))
    return max(found, key=lambda each: each[1].parts, default=None)


def listing_key(place: Place, config: SourceConfig) -> str:
    """The same for every start that lists the same place as the same rows."""
    asked = (config.id_column, config.keep, sorted(config.rename.items()), config.rows_per_shard, config.limit)
    return hashlib.sha256(repr((place.uri, place.pattern, asked)).encode("utf-8", "surrogateescape")).hexdigest()


def _seen_name(part: int) -> str:
    return f"seen-{part:05d}.zst"
