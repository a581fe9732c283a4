"""Batches as the last operator gives them, and tables read back with lance and pyarrow alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from operators.base.arrays import vector_field
from operators.base.columns import ERROR_FIELDS, FETCH_FIELDS, ID, IMAGE_FIELDS, POSITION_FIELDS, REQUESTS, URI
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.commits.committer import Committer
from pipelines.commits.sink import Sink, vectors_schema
from pipelines.space.field import with_space
from pipelines.table.names import TableNames

DIM = 8
VECTOR = with_space(
    vector_field(DIM, pa.float16()), {"embed": {"family": "null", "dim": DIM}}, describe(parse_model_name("null"))
)
SPACE = VECTOR.metadata
KEPT = (
    pa.field("label", pa.string()),
    pa.field("meta", pa.struct([("a", pa.int32()), ("tags", pa.list_(pa.string()))])),
)
SCHEMA = vectors_schema([VECTOR], KEPT)

Position = tuple[int, int]


def batch(shard: int, rows: Iterable[int], failed: Sequence[int] = (), skipped: Sequence[int] = ()) -> pa.Table:
    """Rows of one shard; vectors tell their position. `failed` and `skipped` are row numbers."""
    rows = list(rows)
    count = len(rows)
    classes = ["not_found" if r in failed else "skipped_existing" if r in skipped else None for r in rows]
    vectors = np.stack([vector_of(shard, r) for r in rows]) if rows else np.zeros((0, DIM), "f2")
    good = np.array([c is None for c in classes], bool)
    columns = {
        "shard": pa.array([shard] * count, pa.int32()),
        "row": pa.array(rows, pa.int32()),
        "id": [f"id-{shard}-{r}" for r in rows],
        "uri": [f"https://u:pw@h/{shard}/{r}.jpg?X-Amz-Signature=SECRET&v=1" for r in rows],
        "label": [f"l{r}" for r in rows],
        "meta": pa.array([{"a": r, "tags": ["x"]} for r in rows], KEPT[1].type),
        "width": pa.array([4] * count, pa.int32()),
        "height": pa.array([5] * count, pa.int32()),
        "format": ["JPEG"] * count,
        "size_bytes": pa.array([100 if g else None for g in good], pa.int64()),
        "etag": ["e"] * count,
        "sha256": ["0" * 64] * count,
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM, mask=pa.array(~good)),
        "error_stage": [None if c is None else "fetch" for c in classes],
        "error_class": classes,
        "error": [None if c is None else f"404 for {r}" for c, r in zip(classes, rows, strict=True)],
        "error_http_status": pa.array([None if c is None else 404 for c in classes], pa.int16()),
        "error_attempts": pa.array([None if c is None else 1 for c in classes], pa.int16()),
        "requests": pa.array([2] * count, pa.int16()),
        "seconds_fetch": pa.array([0.5] * count, pa.float32()),
    }
    fields = [
        *POSITION_FIELDS,
        ID,
        URI,
        *KEPT,
        *IMAGE_FIELDS,
        *FETCH_FIELDS,
        SCHEMA.field("vector"),
        *ERROR_FIELDS,
        REQUESTS,
    ]
    schema = pa.schema([*fields, pa.field("seconds_fetch", pa.float32())])
    return pa.table([columns[f.name] for f in schema], schema=schema)


def vector_of(shard: int, row: int) -> np.ndarray:
    """(DIM,) float16, unit length, another for every position."""
    vector = np.random.default_rng([shard, row]).normal(size=DIM)
    return (vector / np.linalg.norm(vector)).astype("f2")


def names_in(folder: Path | str) -> TableNames:
    return TableNames.from_table(f"{folder}/photos")


def open_committer(
    names: TableNames, run_id: str = "run", shards: int = 100, storage: StorageOptions = NO_OPTIONS
) -> Committer:
    committer = Committer.open(names, SCHEMA, run_id=run_id, storage=storage)
    committer.load_ledger(0, shards)
    return committer


def sink_of(names: TableNames, storage: StorageOptions = NO_OPTIONS) -> Sink:
    return Sink(names=names, vectors_schema=SCHEMA, storage=storage)


def read(uri: str, options: dict[str, str] | None = None) -> Counter[Position]:
    """Every position in a table, with how often it stands there."""
    table = lance.dataset(uri, storage_options=options).to_table(columns=["shard", "row"])
    return Counter(zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True))


def positions(shard: int, rows: Iterable[int]) -> Counter[Position]:
    return Counter((shard, row) for row in rows)


def lance_s3(options: dict[str, str]) -> dict[str, str]:
    """Lance's own option names, written out here so that the tests share nothing with the code under test."""
    return {
        "aws_endpoint": options["endpoint_url"],
        "aws_access_key_id": options["key"],
        "aws_secret_access_key": options["secret"],
        "aws_region": options["region"],
        "allow_http": "true",
        "aws_virtual_hosted_style_request": "false",
    }
