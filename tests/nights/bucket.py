"""Photographs in a bucket of a real S3 server, what is done to them, and what a table true to them must hold."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import obstore
from obstore.store import S3Store

from made.cut_photographs import SMALL, photograph

CORRUPT = b"this is no photograph"


@dataclass
class Held:
    """What both tables must hold, by key, once a night is over."""

    live: dict[str, str] = field(default_factory=dict)
    """Key -> sha256 of the bytes that its vector is of."""
    marked: dict[str, str] = field(default_factory=dict)
    """The same for rows that are marked as deleted."""
    failures: dict[str, str] = field(default_factory=dict)
    """Key -> class."""


class PhotoBucket:
    """Objects under `photos/`. `refused` keys are those that a proxy refuses: key -> class of the failure."""

    def __init__(self, s3: Any, name: str, size: tuple[int, int] = SMALL) -> None:
        options = {"endpoint": s3.endpoint_url, "region": s3.region, "client_options": {"allow_http": True}}
        self.store = S3Store(name, access_key_id=s3.key, secret_access_key=s3.secret, **options)
        self.name = name
        self.objects: dict[str, bytes] = {}
        self.refused: dict[str, str] = {}
        self.held = Held()
        self.gone: dict[str, bytes] = {}
        """Deleted objects as they were."""
        self._size = size
        self._made = 0
        self._moved: set[str] = set()

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def photograph(self) -> bytes:
        """One that was never in the bucket."""
        self._made += 1
        return photograph(self._made, self._size)

    def add(self, count: int = 1) -> list[str]:
        """New photographs; gives their keys."""
        keys = []
        for _ in range(count):
            data = self.photograph()
            keys.append(f"photos/{self._made % 7}/{self._made:05d}.jpg")
            self.put(keys[-1], data)
        return keys

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self.store, key, data)
        self.objects[key] = data

    def change(self, key: str) -> None:
        self.put(key, self.photograph())

    def touch(self, key: str) -> None:
        """The same bytes by a multipart upload: the etag is another one, and no MD5."""
        before = obstore.head(self.store, key)["e_tag"]
        obstore.put(self.store, key, self.objects[key], use_multipart=True, chunk_size=5 << 20)
        assert obstore.head(self.store, key)["e_tag"] != before

    def move(self, key: str) -> str:
        moved = key.replace("photos/", "photos/moved/", 1)
        self.put(moved, self.objects[key])
        self.delete(key)
        self._moved.add(key)
        return moved

    def delete(self, key: str) -> None:
        obstore.delete(self.store, key)
        self.gone[key] = self.objects.pop(key)

    def listed(self) -> dict[str, tuple[str, int]]:
        """Key -> etag and size, as the server has them now."""
        pages = obstore.list(self.store, "photos/")
        return {each["path"]: (str(each["e_tag"]), each["size"]) for page in pages for each in page}

    def settle(self) -> Held:
        """What both tables must hold when a refresh of the bucket as it is now has ended complete."""
        held = self.held
        for key, data in self.objects.items():
            digest = hashlib.sha256(data).hexdigest()
            if key in self.refused and held.live.get(key) != digest:
                # What was there before stays, until the object can be read.
                held.failures[key] = self.refused[key]
            elif data == CORRUPT:
                held.live.pop(key, None)
                held.failures[key] = "unsupported_format"
            else:
                held.live[key] = digest
                held.failures.pop(key, None)
            held.marked.pop(key, None)
        for key in held.live.keys() - self.objects.keys():
            digest = held.live.pop(key)
            if key not in self._moved:
                held.marked[key] = digest
        for key in held.failures.keys() - self.objects.keys():
            del held.failures[key]
        self._moved.clear()
        return held
