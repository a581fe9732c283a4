"""A table held against its bucket each morning, with lance, pyarrow and NumPy alone: nothing is shared with the
writer."""

import hashlib
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nights.bucket import PhotoBucket


def audit_morning(
    bucket: PhotoBucket, table: str, anew: str, options: dict[str, str], *, exact: bool, column: str = "vector"
) -> None:
    """`anew` is a table into which the bucket was embedded just now, by the model of the column. `exact`: that gives
    the same vector whatever else is in the batch."""
    held = bucket.settle()
    vectors = lance.dataset(f"{table}.lance", storage_options=options).to_table()
    failures = lance.dataset(f"{table}__failures.lance", storage_options=options).to_table()
    _each_once(vectors, failures, bucket)
    there, gone = _live_and_gone(vectors)
    assert _by_key(there, "sha256", bucket) == held.live
    assert _by_key(gone, "sha256", bucket) == held.marked
    assert _by_key(failures, "error_class", bucket) == held.failures
    _records(there, bucket)
    fresh = lance.dataset(f"{anew}.lance", storage_options=options).to_table()
    _same_vectors(_vectors(there, column), _vectors(fresh, "vector"), there, bucket, exact)


def look(table: str, options: dict[str, str]) -> None:
    """What must hold at every moment, whatever was killed: the table opens, each live row has a vector in the column
    that searches use, and no id is there twice."""
    try:
        dataset = lance.dataset(f"{table}.lance", storage_options=options)
    except ValueError:
        # Not made yet.
        return
    columns = [name for name in ("id", "vector", "deleted_at") if name in dataset.schema.names]
    there, _ = _live_and_gone(dataset.to_table(columns=columns))
    assert there["vector"].null_count == 0
    assert len(set(there["id"].to_pylist())) == there.num_rows


def _live_and_gone(vectors: pa.Table) -> tuple[pa.Table, pa.Table]:
    if "deleted_at" not in vectors.column_names:
        return vectors, vectors.slice(0, 0)
    gone = vectors["deleted_at"].is_valid()
    return vectors.filter(pc.invert(gone)), vectors.filter(gone)


def _each_once(vectors: pa.Table, failures: pa.Table, bucket: PhotoBucket) -> None:
    """No id twice in a table, none of one in the other but where an image's newer version could not be read; and no
    position in both."""
    ids, failed = vectors["id"].to_pylist(), failures["id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert len(set(failed)) == len(failed)
    both = {bucket.uri(key) for key in bucket.held.live.keys() & bucket.held.failures.keys()}
    assert {row["uri"] for row in failures.to_pylist() if row["id"] in set(ids)} == both
    positions = [
        *zip(vectors["shard"].to_pylist(), vectors["row"].to_pylist(), strict=True),
        *zip(failures["shard"].to_pylist(), failures["row"].to_pylist(), strict=True),
    ]
    assert len(set(positions)) == len(positions)


def _by_key(rows: pa.Table, column: str, bucket: PhotoBucket) -> dict[str, Any]:
    beginning = bucket.uri("")
    return {row["uri"].removeprefix(beginning): row[column] for row in rows.select(["uri", column]).to_pylist()}


def _records(there: pa.Table, bucket: PhotoBucket) -> None:
    """Etag and size are those of the object whose bytes the vector is of."""
    listed = bucket.listed()
    assert listed.keys() == bucket.objects.keys()
    for row in there.select(["uri", "etag", "size_bytes", "sha256"]).to_pylist():
        key = row["uri"].removeprefix(bucket.uri(""))
        if row["sha256"] == hashlib.sha256(bucket.objects[key]).hexdigest():
            assert (row["etag"], row["size_bytes"]) == listed[key], key


def _same_vectors(
    ours: dict[str, np.ndarray], fresh: dict[str, np.ndarray], there: pa.Table, bucket: PhotoBucket, exact: bool
) -> None:
    """Every vector is the one that its bytes give today."""
    now = {bucket.uri(key): hashlib.sha256(data).hexdigest() for key, data in bucket.objects.items()}
    current = [row["uri"] for row in there.select(["uri", "sha256"]).to_pylist() if now[row["uri"]] == row["sha256"]]
    assert len(current) >= len(ours) - len(bucket.refused)
    one, other = (np.stack([each[uri] for uri in current]) for each in (ours, fresh))
    if exact:
        assert np.array_equal(one, other)
    else:
        assert np.abs(one - other).max() < 2e-3


def _vectors(rows: pa.Table, column: str) -> dict[str, np.ndarray]:
    held = rows[column].combine_chunks()
    assert held.null_count == 0
    values = held.flatten().to_numpy(zero_copy_only=False).reshape(len(held), -1).astype(np.float32)
    return dict(zip(rows["uri"].to_pylist(), values, strict=True))
