"""Numbered images and their manifest in a bucket of a real S3 server."""

import io
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.store import S3Store

from end_to_end.audit import Expected
from made.solid_images import png_of


def fill(s3: Any, bucket: str, rows: int, missing: int = 0) -> tuple[S3Store, list[Expected]]:
    """Manifest `in/manifest.parquet`; its last `missing` rows have no image behind them."""
    options = {"endpoint": s3.endpoint_url, "region": s3.region, "client_options": {"allow_http": True}}
    store = S3Store(bucket, access_key_id=s3.key, secret_access_key=s3.secret, **options)
    for number in range(rows):
        obstore.put(store, f"in/{number}.png", png_of(number))
    numbers = range(rows + missing)
    expected = [
        Expected(f"s3://{bucket}/in/{n}.png", n, id=f"image-{n}", failure=None if n < rows else "not_found")
        for n in numbers
    ]
    manifest = {
        "key": [each.id for each in expected],
        "uri": [each.uri for each in expected],
        "label": [f"label {n}" for n in numbers],
        "rating": [n / 2 for n in numbers],
    }
    out = io.BytesIO()
    pq.write_table(pa.table(manifest), out, row_group_size=64)
    obstore.put(store, "in/manifest.parquet", out.getvalue())
    return store, expected


def objects_holding(store: S3Store, secret: bytes) -> list[str]:
    """Objects of the bucket that hold the bytes."""
    paths = [each["path"] for page in obstore.list(store) for each in page]
    assert paths
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
