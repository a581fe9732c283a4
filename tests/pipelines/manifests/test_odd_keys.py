"""Buckets whose keys no listing or fetch can name, and keys and folders whose own names hold wildcards."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from operators.fetch import FetchConfig
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.manifests.files import locate
from pipelines.manifests.manifest import Manifest, SourceConfig
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work
from servers.literal_keys import LiteralKeys

Opened = Callable[[str, dict[str, bytes]], tuple[LiteralKeys, Manifest, StorageOptions]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    servers = []

    def open_it(uri: str, objects: dict[str, bytes]) -> tuple[LiteralKeys, Manifest, StorageOptions]:
        servers.append(LiteralKeys(objects))
        storage = StorageOptions(endpoint_url=servers[-1].url, anon=True)
        return servers[-1], manifest_of(SourceConfig(uri=uri), storage, str(tmp_path / "work")), storage

    yield open_it
    for server in servers:
        server.close()


def fetched(manifest: Manifest, storage: StorageOptions) -> list[dict[str, Any]]:
    """The rows after `fetch`."""
    operator = FetchConfig(storage=storage).build()
    rows: list[dict[str, Any]] = []
    for shard in manifest.shards:
        work = shard_work(shard, 0, np.ones(shard.num_rows, bool))
        assert work is not None
        for table in Source(columns=manifest.columns, storage=storage).read(work, 1000):
            rows += operator(table).to_pylist()
    operator.close()
    return rows


def list_of(uri: str) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"uri": [uri]}), out)
    return out.getvalue()


def test_keys_without_a_name_are_failed_rows_among_the_others(opened: Opened) -> None:
    """Keys by the S3 user guide, which allows each of them; consoles make `album.jpg/` to show a folder."""
    odd = ["p/../b.jpg", "p/./b.jpg", "p//b.jpg", "p/a\x01b.jpg"]
    images = {"p/1.jpg": b"one", "p/2.jpg": b"two"}
    hidden = dict.fromkeys(("p/album.jpg/", "p/.hidden.jpg", "p/.git/x.jpg"), b"")
    _, manifest, storage = opened("s3://keys/p", {**images, **dict.fromkeys(odd, b"odd"), **hidden})
    rows = fetched(manifest, storage)
    assert [row["image_bytes"] for row in rows if row["error_class"] is None] == [b"one", b"two"]
    failed = [row for row in rows if row["error_class"] is not None]
    assert {row["error_class"] for row in failed} == {"bad_uri"}
    assert [row["uri"] for row in failed] == [*(f"s3://keys/{key}" for key in odd[:3]), None]


def test_a_key_that_starts_with_a_slash_is_not_the_one_without(opened: Opened) -> None:
    _, manifest, storage = opened("s3://keys", {"/1.jpg": b"slash", "1.jpg": b"plain"})
    assert [(row["uri"], row["error_class"], row["image_bytes"]) for row in fetched(manifest, storage)] == [
        ("s3://keys//1.jpg", "bad_uri", None),
        ("s3://keys/1.jpg", None, b"plain"),
    ]


@pytest.mark.parametrize("name", ["x[1].parquet", "x*.parquet", "x?.parquet"])
def test_a_key_with_wildcards_in_its_name_is_itself(opened: Opened, name: str) -> None:
    objects = {"l/x1.parquet": list_of("s3://keys/other.jpg"), f"l/{name}": list_of("s3://keys/own.jpg")}
    server, manifest, storage = opened(f"s3://keys/l/{name}", {**objects, "own.jpg": b"own"})
    assert [(row["uri"], row["image_bytes"]) for row in fetched(manifest, storage)] == [("s3://keys/own.jpg", b"own")]
    assert server.asked[0] == f"HEAD l/{name}"


def test_without_a_key_of_that_name_it_is_a_pattern(opened: Opened) -> None:
    _, manifest, storage = opened("s3://keys/[ab]/x[1].*", {"a/x1.jpg": b"1", "b/x1.jpg": b"2", "c/x1.jpg": b"3"})
    assert [row["image_bytes"] for row in fetched(manifest, storage)] == [b"1", b"2"]


@pytest.mark.parametrize("source", ["set[1]", "set[1]/", "set[1]/*.jpg", "set[1]/**/*.jpg", "set[1]/x[2]/*"])
def test_a_folder_with_brackets_in_its_name_is_itself(opened: Opened, tmp_path: Path, source: str) -> None:
    keys = ["set1/x2/other.jpg", "set[1]/x2/other.txt", "set[1]/x[2]/own.jpg", "set[1]/own.jpg"]
    _, manifest, storage = opened(f"s3://keys/{source}", dict.fromkeys(keys, b"x"))
    in_bucket = [str(row["uri"]).removeprefix("s3://keys/") for row in fetched(manifest, storage)]
    for key in keys:
        (tmp_path / "in" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / key).write_bytes(b"x")
    here = manifest_of(SourceConfig(uri=f"{tmp_path}/in/{source}"), NO_OPTIONS, str(tmp_path / "work-here"))
    table = pq.read_table(here.shards[0].path)
    assert [uri.removeprefix(f"{tmp_path}/in/") for uri in table["uri"].to_pylist()] == in_bucket
    assert all(key.startswith("set[1]/") for key in in_bucket)
    assert in_bucket


def test_a_pattern_that_names_no_wildcard_above_stays_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "a1").mkdir()
    place = locate(f"{tmp_path}/a[1]/*.jpg", NO_OPTIONS)
    assert (place.kind, place.uri, place.pattern) == ("glob", str(tmp_path), f"{tmp_path}/a[1]/*.jpg")


def test_keys_that_differ_behind_a_question_mark_have_ids_that_differ(opened: Opened) -> None:
    """In a key `?code=1` is no signature: the S3 user guide lets keys hold any character."""
    keys = [f"p/a?{name}={at}.jpg" for name in ("code", "token", "sig") for at in (1, 2)]
    _, manifest, storage = opened("s3://keys/p", {key: key.encode() for key in keys})
    rows = fetched(manifest, storage)
    assert {row["image_bytes"] for row in rows} == {key.encode() for key in keys}
    assert len({row["id"] for row in rows}) == len(keys)
