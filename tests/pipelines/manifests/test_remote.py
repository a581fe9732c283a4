"""Sources on a real S3 server and a real web server."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of, rows_of
from operators.storage.stores import NO_OPTIONS, StorageOptions, filesystem
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError


def uris_of(manifest: Manifest, storage: StorageOptions) -> list[str | None]:
    return [row["uri"] for row in rows_of(manifest, storage)]


@pytest.fixture(scope="module")
def bucket(s3: Any) -> tuple[str, StorageOptions]:
    storage = StorageOptions(**s3.storage_options)
    root = f"s3://{s3.bucket('sources')}"
    files, path = filesystem(root, storage)
    for key in ("in/a b#%20.jpg", "in/b/2.png", "in/b/10.webp", "in/.hidden/x.jpg", "in/notes.md", "in-2/other.jpg"):
        files.pipe(f"{path}/{key}", b"x")
    files.pipe(f"{path}/lists/m.csv", b"uri\n../in/b/2.png\nx.jpg\n../../out.jpg\nhttps://h/y.jpg\n")
    with files.open(f"{path}/parquet/m.parquet", "wb") as out:
        pq.write_table(pa.table({"uri": [f"{i}.jpg" for i in range(30)]}), out, row_group_size=10)
    return root, storage


@pytest.mark.s3
def test_a_bucket_prefix_is_listed(bucket: tuple[str, StorageOptions]) -> None:
    root, storage = bucket
    names = ["in/a b#%20.jpg", "in/b/10.webp", "in/b/2.png"]
    for source in (f"{root}/in", f"{root}/in/"):
        manifest = manifest_of(SourceConfig(uri=source), storage, f"{root}/work-list")
        assert uris_of(manifest, storage) == [f"{root}/{name}" for name in names]
        assert manifest.allowed_roots == ()
    globbed = manifest_of(SourceConfig(uri=f"{root}/in/*/*.png"), storage, f"{root}/work-glob")
    assert uris_of(globbed, storage) == [f"{root}/in/b/2.png"]
    single = manifest_of(SourceConfig(uri=f"{root}/in/b/2.png"), storage, f"{root}/work-one")
    assert uris_of(single, storage) == [f"{root}/in/b/2.png"]


@pytest.mark.s3
def test_a_listing_is_reused_until_an_object_changes(bucket: tuple[str, StorageOptions]) -> None:
    root, storage = bucket
    files, path = filesystem(root, storage)
    files.pipe(f"{path}/change/1.jpg", b"x")
    config = SourceConfig(uri=f"{root}/change")
    first = manifest_of(config, storage, f"{root}/work-change")
    assert manifest_of(config, storage, f"{root}/work-change") == first
    files.pipe(f"{path}/change/1.jpg", b"y")
    assert manifest_of(config, storage, f"{root}/work-change").digest != first.digest


@pytest.mark.s3
def test_manifests_in_a_bucket(bucket: tuple[str, StorageOptions]) -> None:
    root, storage = bucket
    table = manifest_of(SourceConfig(uri=f"{root}/lists/m.csv"), storage, f"{root}/work-csv")
    assert uris_of(table, storage) == [f"{root}/in/b/2.png", f"{root}/lists/x.jpg", None, "https://h/y.jpg"]
    parquet = manifest_of(SourceConfig(uri=f"{root}/parquet"), storage, f"{root}/work-parquet")
    assert uris_of(parquet, storage) == [f"{root}/parquet/{i}.jpg" for i in range(30)]
    assert [shard.path for shard in parquet.shards] == [f"{root}/parquet/m.parquet"]


@pytest.mark.s3
def test_what_is_not_in_the_bucket(bucket: tuple[str, StorageOptions]) -> None:
    root, storage = bucket
    for source in (f"{root}/nothing", f"{root}/lists/missing.csv", f"{root}/in/*.gif"):
        with pytest.raises(SourceError, match=r"nothing there|none of which"):
            manifest_of(SourceConfig(uri=source), storage, f"{root}/work-none")
    with pytest.raises(SourceError, match="gone-bucket"):
        manifest_of(SourceConfig(uri="s3://gone-bucket/x"), storage, f"{root}/work-none")
    wrong = StorageOptions.model_validate({**storage.model_dump(), "key": "nobody", "secret": "hush-hush"})
    with pytest.raises(SourceError, match="storage options") as error:
        manifest_of(SourceConfig(uri=f"{root}/in"), wrong, f"{root}/work-none")
    assert "hush" not in str(error.value)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", tmp_path
        server.shutdown()
        thread.join()
    fsspec.filesystem("http").clear_instance_cache()


def test_manifests_on_the_web(web: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    root, folder = web
    work = str(tmp_path_factory.mktemp("work"))
    (folder / "deep").mkdir()
    (folder / "deep/m.txt").write_text("a.jpg\n/b.jpg\ns3://x/c.jpg\n")
    pq.write_table(pa.table({"url": ["a.jpg"]}), folder / "deep/m.parquet")
    text = manifest_of(SourceConfig(uri=f"{root}/deep/m.txt?token=hush"), NO_OPTIONS, work)
    assert uris_of(text, NO_OPTIONS) == [f"{root}/deep/a.jpg", f"{root}/b.jpg", "s3://x/c.jpg"]
    assert "hush" not in repr(text)
    parquet = manifest_of(SourceConfig(uri=f"{root}/deep/m.parquet"), NO_OPTIONS, work)
    assert uris_of(parquet, NO_OPTIONS) == [f"{root}/deep/a.jpg"]
    with pytest.raises(SourceError, match=r"gone\.csv"):
        manifest_of(SourceConfig(uri=f"{root}/gone.csv?token=hush"), NO_OPTIONS, work)
    with pytest.raises(SourceError, match="no listing"):
        manifest_of(SourceConfig(uri=f"{root}/deep/"), NO_OPTIONS, work)
