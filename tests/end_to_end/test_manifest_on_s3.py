"""Manifest, images and table on a real S3 server, through the command and Ray; then found by id; no secret kept."""

import io
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit import Expected, audit, read
from command import RAY, pixlake
from obstore.store import S3Store
from solid_images import png_of

ROWS = 200


@pytest.mark.ray
@pytest.mark.s3
def test_all_on_s3(s3: Any) -> None:
    bucket = s3.bucket("lake")
    store, expected = fill(s3, bucket)
    table = f"s3://{bucket}/lake/photos"
    settings = [f"--set=storage.{key}={s3.storage_options[key]}" for key in ("key", "secret", "region")]
    settings.append(f"--set=storage.endpoint_url={s3.endpoint_url}")
    kept = ("--set", "source.id_column=key", "--set", "source.keep=[label, score]")
    source = f"s3://{bucket}/in/manifest.parquet"
    ended = pixlake("embed", source, table, *RAY, *settings, *kept, "--json")
    assert ended.code == 0, ended.err
    assert [ended.json[key] for key in ("vectors", "failures")] == [ROWS, 2]
    audit(table, expected, options=lance_options(s3))
    vectors, _ = read(table, lance_options(s3))
    for row in vectors.select(["id", "label", "score"]).to_pylist():
        number = int(row["id"].removeprefix("image-"))
        assert (row["label"], row["score"]) == (f"label {number}", number / 2)

    again = pixlake("embed", source, table, *RAY, *kept, "--json", environment=s3.environment)
    assert (again.code, again.json["embedded_now"]) == (0, 0), again.err
    found = pixlake("search", table, "--id", "image-7", "-k", "3", "--json", environment=s3.environment)
    assert found.code == 0, found.err
    assert found.json["results"][0]["id"] == "image-7"
    assert found.json["results"][0]["score"] == pytest.approx(1, abs=1e-3)
    for ended_command in (ended, again, found):
        assert s3.secret not in ended_command.out + ended_command.err
    assert holding(store, s3.secret.encode()) == []


def fill(s3: Any, bucket: str) -> tuple[S3Store, list[Expected]]:
    """Images and manifest in the bucket; the last two rows have no image behind them."""
    options = {"endpoint": s3.endpoint_url, "region": s3.region, "client_options": {"allow_http": True}}
    store = S3Store(bucket, access_key_id=s3.key, secret_access_key=s3.secret, **options)
    numbers = range(ROWS + 2)
    for number in numbers[:ROWS]:
        obstore.put(store, f"in/{number}.png", png_of(number))
    expected = [
        Expected(f"s3://{bucket}/in/{n}.png", n, id=f"image-{n}", failure=None if n < ROWS else "not_found")
        for n in numbers
    ]
    manifest = {
        "key": [each.id for each in expected],
        "uri": [each.uri for each in expected],
        "label": [f"label {n}" for n in numbers],
        "score": [n / 2 for n in numbers],
    }
    out = io.BytesIO()
    pq.write_table(pa.table(manifest), out, row_group_size=64)
    obstore.put(store, "in/manifest.parquet", out.getvalue())
    return store, expected


def holding(store: S3Store, secret: bytes) -> list[str]:
    """Objects of the bucket that hold the bytes."""
    paths = [each["path"] for page in obstore.list(store) for each in page]
    assert len(paths) > ROWS
    return [path for path in paths if secret in bytes(obstore.get(store, path).bytes())]


def lance_options(s3: Any) -> dict[str, str]:
    """Lance's own names."""
    return {
        "aws_endpoint": s3.endpoint_url,
        "aws_access_key_id": s3.key,
        "aws_secret_access_key": s3.secret,
        "aws_region": s3.region,
        "allow_http": "true",
    }
