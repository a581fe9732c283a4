"""Listings of buckets: what their etags say, and listings that are not whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

import operators.storage.listing
import pipelines.manifests.files
from jobs import embed
from made.solid_images import png_of
from operators.storage.stores import StorageOptions
from pipelines.manifests.manifest import SourceConfig, SourceError
from pipelines.refresh.changes.find import find_changes
from pipelines.table.table import Table
from servers.literal_keys import LiteralKeys


def embedded(folder: Path, uri: str, storage: dict[str, Any]) -> str:
    table = f"{folder}/lake/photos"
    base = {"source": {"uri": uri}, "table": table, "model": {"name": "null"}, "cluster": {"executor": "local"}}
    assert embed.run(embed.load(base={**base, "storage": storage})).status == "complete"
    return table


def found(table: str, uri: str, storage: dict[str, Any]) -> dict[str, list[str | None]]:
    """State -> the names of its images in the source."""
    with find_changes(Table.of(table), SourceConfig(uri=uri), StorageOptions(**storage)) as changes:
        rows = {s: [row for batch in changes.rows(s) for row in batch.to_pylist()] for s in changes.counts}
        names = {s: [row["uri"] and row["uri"].rpartition("/")[2] for row in of_state] for s, of_state in rows.items()}
        return {s: names[s] or [str(count)] for s, count in changes.counts.items() if count}


@pytest.mark.s3
def test_a_bucket_by_its_etags(s3: Any, tmp_path: Path) -> None:
    """Also of objects uploaded in parts, whose etag is not the MD5 of their bytes."""
    bucket, storage = s3.bucket("refreshed"), s3.storage_options
    options = {"endpoint": s3.endpoint_url, "region": s3.region, "client_options": {"allow_http": True}}
    store = S3Store(bucket, access_key_id=s3.key, secret_access_key=s3.secret, **options)
    # PNG ends with IEND: what follows is passed over, and makes the object large enough for parts.
    large = png_of(50) + bytes(6 << 20)
    obstore.put(store, "in/parts.png", large, use_multipart=True, chunk_size=5 << 20)
    obstore.put(store, "in/whole.png", large, use_multipart=False)
    for number in range(20):
        obstore.put(store, f"in/{number:02}.png", png_of(number))
    uri = f"s3://{bucket}/in"
    table = embedded(tmp_path, uri, storage)
    assert found(table, uri, storage) == {"unchanged": ["22"]}
    # The same bytes: the etag is another one where they are uploaded in another way, and only there.
    obstore.put(store, "in/whole.png", large, use_multipart=True, chunk_size=5 << 20)
    obstore.put(store, "in/00.png", png_of(0))
    obstore.rename(store, "in/01.png", "in/moved.png")
    obstore.put(store, "in/02.png", png_of(102))
    obstore.delete(store, "in/03.png")
    obstore.put(store, "in/new.png", png_of(200))
    rows = found(table, uri, storage)
    assert sorted(map(str, rows.pop("changed"))) == ["02.png", "whole.png"]
    assert rows == {"unchanged": ["18"], "moved": ["moved.png"], "new": ["new.png"], "deleted": [None]}


@pytest.fixture
def bucket() -> Iterator[LiteralKeys]:
    server = LiteralKeys({f"in/{number:02}.png": png_of(number) for number in range(20)})
    yield server
    server.close()


def test_a_listing_that_is_denied_or_breaks_off_changes_nothing(
    bucket: LiteralKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators.storage.listing, "_FIRST_WAIT_S", 0.0)
    storage = {"endpoint_url": bucket.url, "anon": True}
    uri = "s3://keys/in"
    table = embedded(tmp_path, uri, storage)
    assert found(table, uri, storage) == {"unchanged": ["20"]}
    # Pages are of three objects. What is asked first tells only what kind of source it is.
    monkeypatch.setattr(pipelines.manifests.files, "LIST_CHUNK", 4)
    for after in range(3, 20, 3):
        bucket.broken = after
        seen = f"after {after} files, the last of them s3://keys/in/{after - 1:02}.png"
        early = f"the listing ended early {seen}: HTTP 403 Refused: not now"
        with pytest.raises(SourceError, match=early if after > 3 else "cannot read s3://keys/in"):
            found(table, uri, storage)
    bucket.broken = "token"
    with pytest.raises(SourceError, match="there is more, and not where"):
        found(table, uri, storage)
    bucket.broken = "body"
    with pytest.raises(SourceError, match="no whole listing"):
        found(table, uri, storage)
    bucket.broken, bucket.objects = None, {"in/00.png": png_of(0)}
    with pytest.raises(ValueError, match=r"19 of 20 images \(95.0%\) are gone"):
        found(table, uri, storage)
