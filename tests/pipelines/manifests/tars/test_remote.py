"""Tars in a bucket of a real S3 server: the same rows as of local ones, in few requests, of one version each."""

from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest

from made.manifests import manifest_of
from made.tars import make_tars, shard_of, write_beside, write_tar
from operators.storage.stores import StorageOptions, object_store
from pipelines.manifests.files import Listing, Place
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError
from pipelines.manifests.tars import streams
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work
from servers.recording_proxy import RecordingProxy

pytestmark = pytest.mark.s3


@pytest.fixture
def bucket(s3: Any) -> str:
    return f"s3://{s3.bucket('tars')}"


def upload(folder: Path, bucket: str, storage: StorageOptions) -> None:
    for path in sorted(folder.iterdir()):
        store, key = object_store(f"{bucket}/in/{path.name}", storage)
        obstore.put(store, key, path.read_bytes())


def rows_of(manifest: Manifest, storage: StorageOptions) -> list[dict[str, Any]]:
    source = Source(columns=manifest.columns, storage=storage)
    rows: list[dict[str, Any]] = []
    for shard in manifest.shards:
        work = shard_work(shard, shard.number, np.ones(shard.num_rows, bool))
        assert work is not None
        rows += [row for table in source.read(work, 8192) for row in table.to_pylist()]
    return rows


@pytest.mark.parametrize("piece_bytes", [700, 4096, 32 << 20])
def test_rows_are_those_of_the_same_tars_here(
    s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr(streams, "PIECE_BYTES", piece_bytes)
    storage = StorageOptions.model_validate(s3.storage_options)
    make_tars(tmp_path / "in", 35, 10)
    (tmp_path / "in/00001.tar").write_bytes((tmp_path / "in/00001.tar").read_bytes()[:5000])
    upload(tmp_path / "in", bucket, storage)
    here, there = (
        manifest_of(SourceConfig(uri=uri, keep=("caption",)), storage, str(tmp_path / "work"))
        for uri in (f"{tmp_path}/in", f"{bucket}/in")
    )
    assert [line.replace(f"{bucket}/", f"{tmp_path}/") for line in there.notices] == list(here.notices)
    for one, other in zip(rows_of(here, storage), rows_of(there, storage), strict=True):
        assert other["uri"].replace(bucket, str(tmp_path)) == one["uri"]
        for name in ("row", "caption", "error_class"):
            assert other[name] == one[name]
        for name in ("offset", "size"):
            assert other["packed_in"][name] == one["packed_in"][name]


def test_a_tar_is_asked_for_once_and_its_parquet_too(
    s3: Any, bucket: str, proxy: RecordingProxy, tmp_path: Path
) -> None:
    make_tars(tmp_path / "in", 30, 10)
    for shard in range(3):
        write_beside(tmp_path / f"in/{shard:05d}.tar", range(10 * shard, 10 * shard + 10))
    upload(tmp_path / "in", bucket, StorageOptions.model_validate(s3.storage_options))
    storage = StorageOptions.model_validate({**s3.storage_options, "endpoint_url": proxy.url})
    config = SourceConfig(uri=f"{bucket}/in", id_column="key", keep=("score",))
    manifest = manifest_of(config, storage, str(tmp_path / "work"))
    assert [row["score"] for row in rows_of(manifest, storage)] == [number / 2 for number in range(30)]
    name = bucket.removeprefix("s3://")
    asked = [each for each in proxy.asked if each.startswith("GET") and each.endswith(".tar")]
    assert sorted(asked) == [f"GET {name}/in/{shard:05d}.tar" for shard in range(3)]
    proxy.asked.clear()
    manifest_of(config, storage, str(tmp_path / "work"))
    assert not [each for each in proxy.asked if each.endswith(".tar")]


def test_a_tar_that_is_replaced_while_it_is_listed_stops_the_listing(
    s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PIECE_BYTES", 1024)
    storage = StorageOptions.model_validate(s3.storage_options)
    tar = write_tar(tmp_path / "in/a.tar", shard_of(range(50)))
    upload(tmp_path / "in", bucket, storage)
    (listed,) = Listing(Place("folder", f"{bucket}/in"), storage)
    opened = streams.tar_streams([listed], storage)
    _, stream = next(opened)
    assert stream.read(100) == tar.read_bytes()[:100]
    store, key = object_store(listed.uri, storage)
    obstore.put(store, key, tar.read_bytes()[::-1])
    stream.seek(listed.size - 1)
    with pytest.raises(SourceError, match="was replaced while its members were listed"):
        stream.read(1)
    opened.close()
