"""Names and Arrow types of the columns that operators share."""

import pyarrow as pa

SHARD = pa.field("shard", pa.int32(), nullable=False)
ROW = pa.field("row", pa.int32(), nullable=False)
ID = pa.field("id", pa.string())
URI = pa.field("uri", pa.string())
IMAGE_BYTES = pa.field("image_bytes", pa.large_binary())
WIDTH = pa.field("width", pa.int32())
HEIGHT = pa.field("height", pa.int32())
FORMAT = pa.field("format", pa.string())
SIZE_BYTES = pa.field("size_bytes", pa.int64())
ETAG = pa.field("etag", pa.string())
SHA256 = pa.field("sha256", pa.string())

ERROR_STAGE = pa.field("error_stage", pa.string())
ERROR_CLASS = pa.field("error_class", pa.string())
ERROR = pa.field("error", pa.string())
ERROR_HTTP_STATUS = pa.field("error_http_status", pa.int16())
ERROR_ATTEMPTS = pa.field("error_attempts", pa.int16())

BOX = pa.struct([("x0", pa.float32()), ("y0", pa.float32()), ("x1", pa.float32()), ("y1", pa.float32())])
"""A box in pixels of the oriented original; `x1` and `y1` are exclusive."""
REGION = pa.field(
    "region",
    pa.struct(
        [("kind", pa.string()), ("index", pa.int32()), ("box", BOX), ("label", pa.string()), ("score", pa.float32())]
    ),
)
"""A part of an image that has a vector of its own: `index` counts from 0 within the image, `kind` is one of
`whole`, `grid`, `tile`, `box`, `detection`, `patch`; label and score are null where nobody gave any."""
REGIONS = pa.field("regions", pa.list_(REGION.type))
"""All of an image's regions, in the order of its vectors."""
REGION_ID = pa.field("region_id", pa.string())
"""`<id>#<index>`: the id of a row in a table with a row per region."""

PACKED_IN = pa.field(
    "packed_in",
    pa.struct([("uri", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("version", pa.string())]),
)
"""Where the bytes of a row lie within a packed file, such as a tar: its URI, the first byte, how many, and the file's
`file_version`. Read and dropped by `fetch`, never written."""

POSITION_FIELDS = (SHARD, ROW)
ERROR_FIELDS = (ERROR_STAGE, ERROR_CLASS, ERROR, ERROR_HTTP_STATUS, ERROR_ATTEMPTS)
FETCH_FIELDS = (SIZE_BYTES, ETAG, SHA256)
IMAGE_FIELDS = (WIDTH, HEIGHT, FORMAT)

REQUESTS = pa.field("requests", pa.int16())
"""Requests sent for the row, retries and redirects included. Counted in the report, never written."""

REUSED = pa.field("reused", pa.int16())
"""1 for a row that was given the results of another image with the same bytes. Counted in the report, never written."""

KNOWN_SHA256 = pa.field("_pixlake_sha256", pa.string())
"""sha256 of the bytes that the table has vectors of under this row's id; null for an image that is new to it. Read by
`compare`, never written."""
ASKED_BY = pa.field("_pixlake_etag", pa.string())
"""The etag by which an http server is asked whether the image is another one than the table has; null for images that
are fetched whatever it says. Read by `fetch`, never written."""
SOURCE_VERSION = pa.field("_pixlake_version", pa.string())
"""What the source says of the version of the row's image. Written to the failures table alone, as `source_version`."""

DELETED_AT = pa.field("deleted_at", pa.timestamp("us", tz="UTC"))
"""When a refresh found that the image was gone from its source; null for an image that is there. Searches leave rows
out that have a time here."""

SECONDS_PREFIX = "seconds_"
"""`seconds_<operator>`: float32, the row's share of the operator's wall time; `seconds_load_<stage>`: the seconds its
actor took to build the stage's operators. Counted in the report, never written."""

SOURCE_SCHEMA = pa.schema([*POSITION_FIELDS, ID, URI, *ERROR_FIELDS])
"""Columns of every source; the manifest columns that the user keeps come between `uri` and the error columns."""

PIXELS = "pixels"
VECTOR = "vector"
"""Column names of a run with one model. With several models, each has a vector column of its own, `vector_<name>`."""

RESERVED = frozenset(f.name for f in (*SOURCE_SCHEMA, IMAGE_BYTES, *FETCH_FIELDS, *IMAGE_FIELDS, REQUESTS, REUSED)) | {
    PACKED_IN.name,
    KNOWN_SHA256.name,
    ASKED_BY.name,
    SOURCE_VERSION.name,
    PIXELS,
    VECTOR,
    REGION.name,
    REGIONS.name,
    REGION_ID.name,
    "stage",
    "http_status",
    "attempts",
}
"""Names that a kept manifest column cannot have, whatever the models."""


def pixels_name(vector_column: str) -> str:
    """The name of a pixel column among several, made from its vector column's."""
    return f"{PIXELS}_{vector_column}"
