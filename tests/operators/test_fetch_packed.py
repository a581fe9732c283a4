"""Images of packed files, from this machine and from a real S3 server: bytes, requests, and what goes wrong."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pytest

from operators.base import columns
from operators.fetch import FetchConfig
from operators.storage.stores import StorageOptions, object_store

DATA = bytes(range(256)) * 400

Place = tuple[str, int, int, str]


def fetched(config: FetchConfig, places: Sequence[Place]) -> list[dict[str, Any]]:
    count = len(places)
    given: dict[str, Any] = {
        "shard": pa.array([0] * count, pa.int32()),
        "row": pa.array(range(count), pa.int32()),
        "id": pa.array([str(number) for number in range(count)]),
        "uri": pa.array([f"{uri}#{number}" for number, (uri, *_) in enumerate(places)]),
        "packed_in": pa.array(
            [dict(zip(("uri", "offset", "size", "version"), place, strict=True)) for place in places],
            columns.PACKED_IN.type,
        ),
    }
    given |= {field.name: pa.nulls(count, field.type) for field in columns.ERROR_FIELDS}
    first = len(columns.SOURCE_SCHEMA) - len(columns.ERROR_FIELDS)
    schema = pa.schema([*list(columns.SOURCE_SCHEMA)[:first], columns.PACKED_IN, *columns.ERROR_FIELDS])
    operator = config.build()
    try:
        out = operator(pa.table(given, schema=schema))
    finally:
        operator.close()
    assert "packed_in" not in out.column_names
    rows: list[dict[str, Any]] = out.to_pylist()
    return rows


def version_of(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar"
    path.write_bytes(DATA)
    return path


def config_of(folder: Path, **options: Any) -> FetchConfig:
    return FetchConfig(allowed_roots=(str(folder),), **options)


def places_in(uri: str, version: str, count: int, size: int = 100) -> list[Place]:
    return [(uri, number * 3 * size, size, version) for number in range(count)]


def check_bytes(rows: Sequence[dict[str, Any]], places: Sequence[Place]) -> None:
    for row, (_, offset, size, _) in zip(rows, places, strict=True):
        data = DATA[offset : offset + size]
        assert (row["image_bytes"], row["size_bytes"], row["error_class"]) == (data, size, None)
        assert row["sha256"] == hashlib.sha256(data).hexdigest()


def test_neighbours_in_a_local_file_come_by_one_read(pack: Path) -> None:
    places = places_in(str(pack), version_of(pack), 128)
    rows = fetched(config_of(pack.parent), places[::-1])
    check_bytes(rows, places[::-1])
    assert sum(row["requests"] for row in rows) == 1
    status = pack.stat()
    assert {row["etag"] for row in rows} == {f"{status.st_mtime_ns:x}-{status.st_size:x}"}


def test_an_image_without_bytes_asks_for_nothing(pack: Path) -> None:
    (row,) = fetched(config_of(pack.parent), [(str(pack), 0, 0, version_of(pack))])
    assert (row["image_bytes"], row["requests"], row["error_class"]) == (b"", 0, None)


def test_an_image_that_is_too_large_fails_alone(pack: Path) -> None:
    version = version_of(pack)
    rows = fetched(
        config_of(pack.parent, max_bytes=200), [(str(pack), 0, 201, version), (str(pack), 300, 200, version)]
    )
    assert [row["error_class"] for row in rows] == ["too_large", None]
    assert rows[1]["image_bytes"] == DATA[300:500]


@pytest.mark.parametrize("how", ["touched", "shorter", "gone", "outside", "scheme"])
def test_what_is_wrong_with_the_local_file_fails_each_row(pack: Path, tmp_path: Path, how: str) -> None:
    places = places_in(str(pack), version_of(pack), 3)
    config = config_of(pack.parent)
    if how == "touched":
        os.utime(pack, ns=(1, 1))
    elif how == "shorter":
        pack.write_bytes(DATA[:500])
    elif how == "gone":
        pack.unlink()
    elif how == "outside":
        config = config_of(tmp_path / "elsewhere")
    else:
        config = config_of(pack.parent, schemes=("s3",))
    rows = fetched(config, places)
    expected = {"gone": "not_found", "outside": "blocked_source", "scheme": "blocked_source"}.get(how, "source_changed")
    assert [row["error_class"] for row in rows] == [expected] * 3
    assert all(row["image_bytes"] is None for row in rows)


@pytest.fixture
def stored(s3: Any) -> tuple[str, str, StorageOptions]:
    """URI and version of an object, and how to reach it."""
    options = StorageOptions.model_validate(s3.storage_options)
    uri = f"s3://{s3.bucket('packed')}/a.tar"
    return uri, put(uri, DATA, options), options


def put(uri: str, data: bytes, options: StorageOptions) -> str:
    store, key = object_store(uri, options)
    obstore.put(store, key, data)
    meta = obstore.head(store, key)
    return f"{meta['size']}-{meta['e_tag']}"


@pytest.mark.s3
def test_neighbours_in_an_object_come_by_one_request(stored: tuple[str, str, StorageOptions]) -> None:
    uri, version, options = stored
    places = places_in(uri, version, 300)
    rows = fetched(FetchConfig(storage=options), places)
    check_bytes(rows, places)
    assert sum(row["requests"] for row in rows) == 1
    assert {row["etag"] for row in rows} == {version.partition("-")[2]}


@pytest.mark.s3
@pytest.mark.parametrize("data", [DATA[::-1], DATA[:50]], ids=["as long", "shorter than the offsets"])
def test_no_bytes_come_of_an_object_that_was_replaced(stored: tuple[str, str, StorageOptions], data: bytes) -> None:
    uri, version, options = stored
    put(uri, data, options)
    rows = fetched(FetchConfig(storage=options), places_in(uri, version, 3)[1:])
    assert [(row["error_class"], row["error_attempts"]) for row in rows] == [("source_changed", 1)] * 2
    assert "replaced" in rows[0]["error"]


@pytest.mark.s3
def test_an_object_that_is_gone_is_not_found(stored: tuple[str, str, StorageOptions]) -> None:
    uri, version, options = stored
    rows = fetched(FetchConfig(storage=options), places_in(f"{uri}x", version, 2))
    assert [row["error_class"] for row in rows] == ["not_found"] * 2
