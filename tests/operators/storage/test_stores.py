"""One set of options opens the same place with the same credentials in obstore, fsspec and Lance."""

import pickle
from pathlib import Path
from typing import Any

import obstore
import pytest
from pydantic import ValidationError

from operators.storage.stores import StorageError, StorageOptions, filesystem, lance_options, object_store
from operators.storage.uris import split_uri

CANARY = "c4nary-s3cret"


@pytest.fixture(autouse=True)
def _no_ambient_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/a b/ü.jpg", ("s3", "bucket", "a b/ü.jpg")),
        ("s3://bucket/a%20b?x#y", ("s3", "bucket", "a%20b?x#y")),
        ("S3A://bucket/k", ("s3", "bucket", "k")),
        ("gcs://bucket", ("gs", "bucket", "")),
        ("file:///a%20b", ("file", "", "/a b")),
        ("file:/a", ("file", "", "/a")),
        ("/a%20b", ("file", "", "/a%20b")),
        ("a/b.parquet", ("file", "", "a/b.parquet")),
    ],
)
def test_uris_are_split_without_decoding_object_keys(uri: str, expected: tuple[str, str, str]) -> None:
    assert split_uri(uri) == expected


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "file://host/a"])
def test_uris_that_name_nothing_are_refused(uri: str) -> None:
    with pytest.raises(StorageError):
        split_uri(uri)


def test_client_kwargs_fold_into_the_options() -> None:
    options = StorageOptions.model_validate({"client_kwargs": {"endpoint_url": "http://h:1/", "region_name": "eu"}})
    assert options == StorageOptions(endpoint_url="http://h:1", region="eu")


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_kwargs": {"verify": False}},
        {"client_kwargs": {"region_name": "a"}, "region": "b"},
        {"acess_key": "x"},
        {"key": "only"},
        {"anon": True, "key": "k", "secret": CANARY},
        {"key": "k", "secret": CANARY, "profile": "p"},
        {"endpoint_url": f"http://user:{CANARY}@host"},
        {"endpoint_url": "host:9000"},
    ],
)
def test_options_that_contradict_each_other_are_refused_without_telling_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        StorageOptions.model_validate(wrong)
    assert CANARY not in str(caught.value)


def test_secrets_survive_pickling_and_show_nowhere() -> None:
    options = StorageOptions.model_validate({"key": "k" + CANARY, "secret": CANARY, "token": CANARY})
    assert pickle.loads(pickle.dumps(options)) == options
    assert CANARY not in repr(options) + str(options) + options.model_dump_json() + str(options.model_dump())
    given = lance_options("s3://b/t", options)
    assert given is not None
    assert given["aws_secret_access_key"] == CANARY


def test_the_environment_names_endpoint_and_region(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lance_options("s3://b/t") is None
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://h:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu")
    assert lance_options("s3://b/t") == {
        "aws_endpoint": "http://h:1",
        "aws_virtual_hosted_style_request": "false",
        "allow_http": "true",
        "aws_region": "eu",
    }
    explicit = lance_options("s3://b/t", StorageOptions(anon=True, region="us", endpoint_url="https://o"))
    assert explicit is not None
    assert (explicit["aws_endpoint"], explicit["aws_region"]) == ("https://o", "us")
    assert (explicit["aws_skip_signature"], explicit["allow_http"]) == ("true", "false")
    assert lance_options("/local/table") is None


def test_stores_are_cached_per_bucket_options_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    options = StorageOptions.model_validate({"key": "k", "secret": "s"})
    store, path = object_store("s3://bucket/a/b.jpg", options)
    assert path == "a/b.jpg"
    assert object_store("s3://bucket/c", options)[0] is store
    assert object_store("s3://other/c", options)[0] is not store
    assert object_store("s3://bucket/c", options, max_retries=0)[0] is not store
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://h:1")
    assert object_store("s3://bucket/c", options)[0] is not store


def test_missing_credentials_and_unknown_schemes_say_what_to_do() -> None:
    with pytest.raises(StorageError, match="anon=true"):
        object_store("s3://bucket/k")
    with pytest.raises(StorageError, match="use s3://"):
        object_store("ftp://host/k")
    with pytest.raises(StorageError, match="use a local path"):
        filesystem("ftp://host/k")


def test_local_paths_open_in_all_engines(tmp_path: Path) -> None:
    target = tmp_path / "a b.txt"
    target.write_bytes(b"here")
    for uri in (str(target), target.as_uri()):
        store, path = object_store(uri)
        assert bytes(obstore.get(store, path).bytes()) == b"here"
        files, path = filesystem(uri)
        assert files.cat_file(path) == b"here"


@pytest.mark.s3
@pytest.mark.parametrize("way", ["options", "environment", "profile"])
def test_a_real_store_opens_by_options_environment_and_profile(
    s3: Any, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}
    if way == "options":
        given = s3.storage_options
    elif way == "environment":
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
    else:
        (tmp_path / "credentials").write_text(
            f"[lab]\naws_access_key_id = {s3.key}\naws_secret_access_key = {s3.secret}\n"
        )
        (tmp_path / "config").write_text(f"[profile lab]\nregion = eu-x\nendpoint_url = {s3.endpoint_url}\n")
        given = {"profile": "lab"}
    options = StorageOptions.model_validate(given)
    uri = f"s3://{s3.bucket('open')}/a b/ü%20.txt"
    files, path = filesystem(uri, options)
    files.pipe_file(path, b"by s3fs")
    store, key = object_store(uri, options)
    assert key == "a b/ü%20.txt"
    assert bytes(obstore.get(store, key).bytes()) == b"by s3fs"


@pytest.mark.s3
def test_anonymous_requests_are_not_signed(s3: Any) -> None:
    options = StorageOptions(anon=True, endpoint_url=s3.endpoint_url)
    store, key = object_store(f"s3://{s3.bucket('closed')}/k", options, max_retries=0)
    with pytest.raises(obstore.exceptions.PermissionDeniedError):
        obstore.get(store, key)
