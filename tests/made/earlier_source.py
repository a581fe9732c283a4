"""A manifest in a bucket whose digest is the same on every server: what the tables of earlier releases were made of."""

import obstore
from obstore.store import S3Store

from made.solid_images import png_of
from servers.s3 import S3Server

BUCKET = "earlier-releases"
SOURCE = f"s3://{BUCKET}/in/photos.csv"
ROWS, LIMIT = 10, 6
"""Of the manifest, and those that the earlier release has done."""
MISSING, CUT = 2, 4
"""Rows without an image, and with one that is cut short."""


def put_source(s3: S3Server) -> None:
    import s3fs

    # The bucket has one name for ever, where `S3Server.bucket` counts.
    s3fs.S3FileSystem(
        key=s3.key, secret=s3.secret, endpoint_url=s3.endpoint_url, client_kwargs={"region_name": s3.region}
    ).mkdir(BUCKET)
    options = {"endpoint": s3.endpoint_url, "region": s3.region, "client_options": {"allow_http": True}}
    store = S3Store(BUCKET, access_key_id=s3.key, secret_access_key=s3.secret, **options)
    for number in range(ROWS):
        if number != MISSING:
            obstore.put(store, f"in/{number}.png", png_of(number)[: 40 if number == CUT else None])
    lines = [f"{number}.png,image-{number},label {number}" for number in range(ROWS)]
    obstore.put(store, "in/photos.csv", "\n".join(["uri,key,label", *lines, ""]).encode())
