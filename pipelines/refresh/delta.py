"""What is to be fetched of a changed source, as a manifest of its own that says what the table has of each image."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.compute as pc
from obstore.exceptions import BaseError

from operators.base.columns import ASKED_BY, ID, KNOWN_SHA256, SOURCE_VERSION, URI
from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, object_store
from operators.storage.uris import split_uri
from pipelines.commits.superseded import PositionMap, Superseded
from pipelines.manifests.manifest import Columns, Manifest, OnRows
from pipelines.manifests.normalized import Normalized
from pipelines.manifests.parts import ERROR_FIELD, write_parts
from pipelines.refresh.changes.changes import (
    KNOWN_ETAG,
    OLD_IN,
    OLD_ROW,
    OLD_SHA256,
    OLD_SHARD,
    STATE,
    VERSION,
    Changes,
    ImageState,
)
from pipelines.table.positions import position_keys

ROWS_PER_SHARD = 65_536
_NO_DIGEST = "-"
"""In place of a digest, for an image that is embedded whatever its bytes are."""
_NONE = -1


@dataclass(frozen=True, kw_only=True)
class Delta:
    """The manifest, and for each of its rows the one that the image has in the table."""

    manifest: Manifest
    old_keys: np.ndarray
    """(N,) int64 position keys, -1 where it has none."""
    in_vectors: np.ndarray
    """(N,) bool: whether that is in the vector table; else it is a failure."""
    asked: np.ndarray
    """(N,) bool: whether only the image's server can tell if there is anything new."""

    def superseded(self, first_shard: int) -> Superseded:
        """The rows that new ones take the place of, once the manifest has its shard numbers."""
        numbers = np.arange(len(self.old_keys))
        # As `Normalized` cuts them.
        new = position_keys(first_shard + numbers // ROWS_PER_SHARD, numbers % ROWS_PER_SHARD)
        held = self.old_keys != _NONE
        vectors, failures = held & self.in_vectors, held & ~self.in_vectors
        return Superseded(
            vectors=PositionMap(new[vectors], self.old_keys[vectors]),
            failures=PositionMap(new[failures], self.old_keys[failures]),
        )

    def is_asked(self, first_shard: int, positions: np.ndarray) -> np.ndarray:
        """(M,) bool for positions of the manifest."""
        numbers = ((positions >> 32) - first_shard) * ROWS_PER_SHARD + (positions & 0xFFFFFFFF)
        found: np.ndarray = self.asked[numbers]
        return found


def write_delta(
    changes: Changes,
    states: Sequence[ImageState],
    *,
    source: str,
    run_id: str,
    folder: str,
    storage: StorageOptions,
    whatever_bytes: bool,
    progress: OnRows | None = None,
) -> Delta:
    """Write the rows of these states under `folder`. `source` is the name under which the source is registered.

    `whatever_bytes`: images are embedded anew also where their bytes are those that the table has vectors of, since
    something beside the bytes decides. Raises `OSError`.
    """
    old_keys, in_vectors, asked = [np.zeros(0, np.int64)], [np.zeros(0, bool)], [np.zeros(0, bool)]

    def tables() -> Iterator[pa.Table]:
        for batch in changes.rows(*states):
            old_keys.append(old_positions(batch))
            in_vectors.append(_is(batch, OLD_IN, "vectors"))
            asked.append(_is(batch, STATE, "asked"))
            yield _delta_rows(batch, changes.kept, whatever_bytes)

    rows, _ = write_parts(tables(), folder, ROWS_PER_SHARD, storage, max_parts=None, progress=progress)
    digest = hashlib.sha256(f"pixlake delta {run_id}".encode()).hexdigest()
    done = Normalized(folder=folder, digest=digest, num_rows=rows, rows_per_shard=ROWS_PER_SHARD, complete=True)
    manifest = Manifest(
        digest=digest,
        uri=source,
        shards=done.shards(),
        num_rows=rows,
        rows_say_all=False,
        columns=Columns(id=ID.name, kept=changes.kept, resolved=True, compared=True),
        allowed_roots=changes.allowed_roots,
    )
    return Delta(
        manifest=manifest,
        old_keys=np.concatenate(old_keys),
        in_vectors=np.concatenate(in_vectors),
        asked=np.concatenate(asked),
    )


def drop_delta(folder: str, storage: StorageOptions) -> None:
    """Delete a delta's files: a refresh that was cut off makes another one. Raises `OSError`."""
    if split_uri(folder)[0] == "file":
        shutil.rmtree(folder, ignore_errors=True)
        return
    store, prefix = object_store(folder, storage)
    try:
        paths = [meta["path"] for page in obstore.list(store, f"{prefix}/") for meta in page]
        if paths:
            obstore.delete(store, paths)
    except BaseError as error:
        raise OSError(f"{folder}: cannot delete there: {reason_of(error)}") from None


def old_positions(rows: pa.RecordBatch | pa.Table) -> np.ndarray:
    """(N,) int64 position keys of the images' rows in the table, -1 where there is none."""
    shards, numbers = (pc.fill_null(rows[f.name], _NONE).to_numpy().astype(np.int64) for f in (OLD_SHARD, OLD_ROW))
    return np.where(shards == _NONE, _NONE, position_keys(shards, numbers))


def positions_of(changes: Changes, state: ImageState) -> np.ndarray:
    """Position keys of the table's rows in this state, int64."""
    return np.concatenate([np.zeros(0, np.int64), *(old_positions(batch) for batch in changes.rows(state))])


def _is(rows: pa.RecordBatch, field: pa.Field, value: str) -> np.ndarray:
    found: np.ndarray = pc.fill_null(pc.equal(rows[field.name], value), False).to_numpy(zero_copy_only=False)
    return found


def _delta_rows(rows: pa.RecordBatch, kept: Sequence[pa.Field], whatever_bytes: bool) -> pa.Table:
    count = rows.num_rows
    held = pc.equal(rows[OLD_IN.name], "vectors")
    known = pc.if_else(held, pc.fill_null(rows[OLD_SHA256.name], _NO_DIGEST), pa.scalar(None, pa.string()))
    if whatever_bytes:
        known = pa.repeat(_NO_DIGEST, count)
    columns = {
        URI: rows[URI.name],
        ID: rows[ID.name],
        **{field: rows[field.name] for field in kept},
        ERROR_FIELD: rows[ERROR_FIELD.name],
        KNOWN_SHA256: known,
        ASKED_BY: rows[KNOWN_ETAG.name],
        SOURCE_VERSION: rows[VERSION.name],
    }
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(list(columns)))
