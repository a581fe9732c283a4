"""Objects are listed by their very keys, whatever these hold; requests are signed, and sent again where that helps."""

from collections.abc import Callable, Iterator
from typing import Any

import obstore
import pytest

import operators.storage.listing
from operators.storage.listing import list_objects
from operators.storage.stores import StorageOptions, filesystem, object_store
from operators.storage.uris import is_nameable
from servers.literal_keys import LiteralKeys

ODD = [
    "/1.jpg",
    "1.jpg",
    "p/../up.jpg",
    "p/./same.jpg",
    "p//empty.jpg",
    "p/a\x01b + c%20&<d>.jpg",
    "p/a\nb.jpg",
    "p/album.jpg/",
    "p/plain #1?.jpg",
    "p/ünï.jpg",
]
"""Keys as the S3 user guide allows them: any sequence of Unicode of up to 1,024 bytes in UTF-8."""


Opened = Callable[[dict[str, bytes]], tuple[LiteralKeys, StorageOptions]]


@pytest.fixture
def opened() -> Iterator[Opened]:
    servers = []

    def start(objects: dict[str, bytes]) -> tuple[LiteralKeys, StorageOptions]:
        servers.append(LiteralKeys(objects))
        return servers[-1], StorageOptions(endpoint_url=servers[-1].url, anon=True)

    yield start
    for server in servers:
        server.close()


def test_every_key_is_given_letter_for_letter_over_pages(opened: Opened) -> None:
    _, storage = opened({key: key.encode() for key in ODD})
    found = list(list_objects("s3://keys", storage))
    assert [each.key for each in found] == ODD
    assert [each.size for each in found] == [len(key.encode()) for key in ODD]


def test_a_prefix_is_a_folder(opened: Opened) -> None:
    _, storage = opened(dict.fromkeys(("p/1", "p2/2", "p//3", "/p/4"), b"x"))
    listed = {
        folder: [each.key for each in list_objects(folder, storage)] for folder in ("s3://keys/p", "s3://keys//p")
    }
    assert listed == {"s3://keys/p": ["p//3", "p/1"], "s3://keys//p": ["/p/4"]}


def test_a_busy_store_is_asked_again_and_a_refusal_is_said(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators.storage.listing, "_FIRST_WAIT_S", 0.0)
    server, storage = opened({"a": b"x"})
    server.refuse = [503, 429, 500]
    assert [each.key for each in list_objects("s3://keys", storage)] == ["a"]
    server.refuse = [403]
    with pytest.raises(OSError, match="HTTP 403 Refused: not now"):
        list(list_objects("s3://keys", storage))
    server.close()
    with pytest.raises(OSError, match="no answer"):
        list(list_objects("s3://keys", storage))


@pytest.mark.parametrize("broken", ["token", "body"])
def test_a_listing_that_breaks_off_is_not_taken_for_whole(opened: Opened, broken: str) -> None:
    server, storage = opened({key: key.encode() for key in ODD})
    server.broken = broken
    with pytest.raises(OSError, match=r"there is more|no whole listing"):
        list(list_objects("s3://keys", storage))


@pytest.mark.parametrize("key", ["", "/1.jpg", "a/", "a//b", "a/./b", "../a", "a/..", ".", "a\nb", "a\x7fb"])
def test_what_obstore_cannot_name_or_reads_as_another_key(key: str) -> None:
    """Its own parser is the other opinion: it raises, or gives another path."""
    assert not is_nameable(key)
    store = obstore.store.MemoryStore()
    try:
        obstore.put(store, key, b"x")
        assert [meta["path"] for page in obstore.list(store) for meta in page] != [key]
    except (ValueError, obstore.exceptions.BaseError):
        pass


@pytest.mark.parametrize("key", ["a", ".a/b.", "..a/...", "a b#?%20[1]*\\", "ü/\x85"])
def test_other_keys_have_names(key: str) -> None:
    assert is_nameable(key)
    store = obstore.store.MemoryStore()
    obstore.put(store, key, b"x")
    assert [meta["path"] for page in obstore.list(store) for meta in page] == [key]


@pytest.mark.s3
def test_a_signed_listing_says_what_obstore_says(s3: Any) -> None:
    """The same keys, sizes and etags: manifests that were registered before keep their digest."""
    storage = StorageOptions(**s3.storage_options)
    root = f"s3://{s3.bucket('alike')}"
    files, path = filesystem(root, storage)
    for key in ("in/a b#%20+.jpg", "in/ü/2.png", "in/&<3>.jpg", "other.jpg"):
        files.pipe(f"{path}/{key}", key.encode())
    store, prefix = object_store(f"{root}/in", storage)
    theirs = [(each["path"], each["size"], each["e_tag"]) for page in obstore.list(store, prefix) for each in page]
    assert [tuple(each) for each in list_objects(f"{root}/in", storage)] == theirs
    assert len(theirs) == 3
