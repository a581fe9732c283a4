"""Weights in a real object store: streamed once into the node's cache, then read without it."""

import hashlib
import os
import random
import resource
import signal
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import obstore
import pytest

from operators.models.spec import ModelError, parse_model_name
from operators.models.weights.cache import cache_folder
from operators.models.weights.objects import object_file
from operators.storage.stores import StorageOptions, object_store

pytestmark = pytest.mark.s3

SPEC = parse_model_name("timm:resnet18@s3://bucket/w.safetensors")
CONTENT = random.Random(0).randbytes(33 << 20)
"""More than two parts."""
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = StorageOptions.model_validate(
    {"key": "k", "secret": "c4nary-s3cret", "endpoint_url": "http://127.0.0.1:9", "region": "us-east-1"}
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixlake" / "weights"


@pytest.fixture(scope="module")
def options(s3: Any) -> StorageOptions:
    return StorageOptions.model_validate(s3.storage_options)


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    return str(s3.bucket("weights"))


@pytest.fixture
def uri(bucket: str, options: StorageOptions) -> str:
    uri = f"s3://{bucket}/models/ü b/w.safetensors"
    put(uri, CONTENT, options)
    return uri


def put(uri: str, content: bytes, options: StorageOptions) -> None:
    store, key = object_store(uri, options)
    obstore.put(store, key, content)


def test_an_object_is_streamed_in_order_and_hashed(uri: str, options: StorageOptions, cache: Path) -> None:
    path, digest = object_file(SPEC, uri, options, None)
    assert digest == DIGEST
    assert Path(path).read_bytes() == CONTENT
    assert Path(path) == cache / "sha256" / DIGEST / "weights.safetensors"
    assert cache == cache_folder()
    assert not list(cache.rglob("*.part"))


def test_a_pinned_copy_needs_no_network(uri: str, options: StorageOptions) -> None:
    first = object_file(SPEC, uri, options, None)
    assert object_file(SPEC, uri, NOWHERE, DIGEST) == first


def test_an_unchanged_object_is_not_read_again(uri: str, options: StorageOptions) -> None:
    path, _ = object_file(SPEC, uri, options, None)
    before = os.stat(path).st_ino
    assert object_file(SPEC, uri, options, None)[0] == path
    assert os.stat(path).st_ino == before


def test_a_changed_object_is_noticed(uri: str, options: StorageOptions) -> None:
    old, _ = object_file(SPEC, uri, options, None)
    put(uri, CONTENT[::-1], options)
    path, digest = object_file(SPEC, uri, options, None)
    assert digest == hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert Path(path).read_bytes() == CONTENT[::-1]
    # A run planned with the old one still has it here.
    assert object_file(SPEC, uri, options, DIGEST) == (old, DIGEST)


def test_a_pin_that_the_object_does_not_have_is_the_callers_to_refuse(uri: str, options: StorageOptions) -> None:
    assert object_file(SPEC, uri, options, "ab" * 32)[1] == DIGEST


def test_a_spoilt_copy_is_read_again(uri: str, options: StorageOptions) -> None:
    path, _ = object_file(SPEC, uri, options, None)
    Path(path).write_bytes(CONTENT[:-1])
    for wanted in (None, DIGEST):
        again, digest = object_file(SPEC, uri, options, wanted)
        assert (Path(again).read_bytes(), digest) == (CONTENT, DIGEST)


def _find(uri: str, options: StorageOptions, sha256: str | None, answers: Any) -> None:
    path, digest = object_file(SPEC, uri, options, sha256)
    answers.put((path, digest, os.stat(path).st_ino))


@pytest.mark.parametrize("sha256", [None, DIGEST], ids=["any", "pinned"])
def test_processes_at_once_share_one_download(uri: str, options: StorageOptions, sha256: str | None) -> None:
    """A second download would replace the first one's file: another inode."""
    context = get_context("spawn")
    answers = context.Queue()
    processes = [context.Process(target=_find, args=(uri, options, sha256, answers)) for _ in range(3)]
    for each in processes:
        each.start()
    found = [answers.get(timeout=300) for _ in processes]
    for each in processes:
        each.join()
    assert len(set(found)) == 1


def test_what_is_not_there_is_named(bucket: str, options: StorageOptions) -> None:
    with pytest.raises(ModelError, match=rf"s3://{bucket}/none.safetensors is not there; check bucket and key"):
        object_file(SPEC, f"s3://{bucket}/none.safetensors", options, None)


def test_wrong_credentials_are_named_and_not_told(uri: str, options: StorageOptions) -> None:
    wrong = options.model_copy(update={"key": options.secret, "secret": NOWHERE.secret})
    with pytest.raises(ModelError, match="may not be read with these credentials") as caught:
        object_file(SPEC, uri, wrong, None)
    assert "s3cret" not in str(caught.value)


def test_a_store_that_does_not_answer_is_named(uri: str) -> None:
    with pytest.raises(ModelError, match="could not be read"):
        object_file(SPEC, uri, NOWHERE, None)


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 20 MB: the write fails as on a full disk, with a number of its own."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
def test_no_room_is_named_and_leaves_nothing_behind(uri: str, options: StorageOptions, cache: Path) -> None:
    with pytest.raises(ModelError, match=rf"cannot be stored in {cache}: .*Make room there, or set XDG_CACHE_HOME"):
        object_file(SPEC, uri, options, None)
    assert not list(cache.rglob("*.part"))
    assert not list(cache.rglob("weights*.safetensors"))
