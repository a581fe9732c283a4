"""The teacher's vectors of a source's images, read from a table: which rows of the source have one, and what it is."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, SHA256, URI
from operators.base.errors import UserError
from operators.normalize import l2_normalize
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.space.flat import flat_numpy
from pipelines.space.usable_rows import usable_rows

_LOOKED_UP = 1 << 20
"""Rows of the table whose keys are looked up at a time: each look-up begins with a hash of all that are wanted."""
_BATCH_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class TeacherVectors:
    """What a table says of the N rows of a source."""

    stored: np.ndarray
    """(V, D) float16, of unit length, mapped from a file."""
    at: np.ndarray
    """(N,) int64: the place of each row's vector; -1 where it has none."""
    sha256: pa.Array
    """(V,) string: of the bytes that each vector was made of; null where the table does not know."""
    by: Literal["id", "uri"]
    """What the rows were joined by."""

    @property
    def dim(self) -> int:
        return int(self.stored.shape[1])

    def units(self, rows: np.ndarray) -> np.ndarray:
        """(M, D) float32 of unit length, of rows of the source that have one."""
        return l2_normalize(self.stored[self.at[rows]].astype(np.float32))

    def changed(self, rows: np.ndarray, sha256: pa.Array) -> np.ndarray:
        """(M,) bool: rows with a vector of other bytes than those that are there now, where both are known."""
        made_of = self.sha256.take(pa.array(self.at[rows]))
        other: np.ndarray = pc.fill_null(pc.not_equal(made_of, sha256), False).to_numpy(zero_copy_only=False)
        return other


def read_teacher(dataset: Any, column: str, ids: pa.Array, uris: pa.Array, path: Path) -> TeacherVectors:
    """The vectors of a column of the live rows that have one of the N ids; where none has, one of the N URIs. They are
    written to `path`, an .npy file, and mapped into memory from there.

    The table is read twice: its keys, then the vectors of the rows that are wanted, batch by batch. Of rows with the
    same key the first counts. Raises `UserError` where no row is wanted, or the disk has no room.
    """
    by, name, keys = _joined_by(dataset, ids, uris)
    unique = pc.unique(keys.drop_null())
    chosen, sha256 = _chosen(dataset, name, unique)
    dim, wanted = dataset.schema.field(column).type.list_size, int((chosen >= 0).sum())
    _check_room(path, 2 * dim * wanted, wanted, ids, uris)
    stored = np.lib.format.open_memmap(path, "w+", np.float16, (wanted, dim))
    filled, offset = [np.zeros(0, np.int64)], 0
    count = 0
    for batch in plain_scan(dataset, [column], live_rows(dataset.schema), batch_size=_BATCH_ROWS):
        places = chosen[offset : offset + batch.num_rows]
        offset += batch.num_rows
        own = np.flatnonzero((places >= 0) & usable_rows(batch[column], "cosine"))
        if len(own):
            vectors = flat_numpy(batch[column].take(pa.array(own))).astype(np.float32)
            stored[count : count + len(own)] = l2_normalize(vectors)
            filled.append(places[own])
            count += len(own)
    kept = np.concatenate(filled)
    # The last place is for rows whose key is null.
    place_of = np.full(len(unique) + 1, -1, np.int64)
    place_of[kept] = np.arange(count)
    codes = pc.fill_null(pc.index_in(keys, value_set=unique), -1).to_numpy(zero_copy_only=False)
    return TeacherVectors(stored=stored[:count], at=place_of[codes], sha256=sha256.take(pa.array(kept)), by=by)


def _check_room(path: Path, needed: int, wanted: int, ids: pa.Array, uris: pa.Array) -> None:
    if not wanted:
        raise UserError(
            f"none of the {len(ids):,} images has a row in the teacher's table, by id ({ids[0]}) or by URI "
            f"({uris[0]}): name the source that the table was embedded from"
        )
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"{path.parent}: the teacher's vectors of {wanted:,} images take {needed / 1e9:,.1f} GB and "
            f"{free / 1e9:,.1f} GB are free there; take fewer (--sample), or name a folder on another disk (--work)"
        )


def _joined_by(dataset: Any, ids: pa.Array, uris: pa.Array) -> tuple[Literal["id", "uri"], str, pa.Array]:
    for batch in _keys(dataset, [ID.name]):
        if pc.any(pc.is_in(batch[ID.name], value_set=ids)).as_py():
            return "id", ID.name, ids
    return "uri", URI.name, uris


def _chosen(dataset: Any, name: str, unique: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """((T,) int64: for each live row of the table the place of its key among the U that are wanted, or -1;
    (U,) string: the sha256 of the rows)."""
    known = [SHA256.name] if SHA256.name in dataset.schema.names else []
    places = [np.zeros(0, np.int64)]
    taken = np.zeros(len(unique), bool)
    found_sha, found_at = [pa.array([], pa.string())], [np.zeros(0, np.int64)]
    for batch in _keys(dataset, [name, *known]):
        codes = pc.fill_null(pc.index_in(batch[name], value_set=unique), -1).to_numpy().astype(np.int64)
        own = np.flatnonzero(codes >= 0)
        first = own[np.sort(np.unique(codes[own], return_index=True)[1])]
        first = first[~taken[codes[first]]]
        taken[codes[first]] = True
        chosen = np.full(len(codes), -1, np.int64)
        chosen[first] = codes[first]
        places.append(chosen)
        if known:
            found_sha.append(batch[SHA256.name].take(pa.array(first)).cast(pa.string()).combine_chunks())
            found_at.append(codes[first])
    # Which of those found each key has; null for a key without any.
    which = np.full(len(unique), -1, np.int64)
    at = np.concatenate(found_at)
    which[at] = np.arange(len(at))
    sha256 = pa.concat_arrays(found_sha).take(pa.array(which, mask=which < 0))
    return np.concatenate(places), sha256


def _keys(dataset: Any, names: list[str]) -> Iterator[pa.Table]:
    """The live rows, in the table's order, about a million at a time."""
    waiting: list[pa.RecordBatch] = []
    for batch in plain_scan(dataset, names, live_rows(dataset.schema)):
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= _LOOKED_UP:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def principal_rotation(stored_VD: np.ndarray) -> np.ndarray:
    """(D, D) float32, orthogonal: turns vectors so that their first numbers hold as much of them as any could, by the
    second moments of (V, D) vectors. Cosines of whole vectors stay as they are: nothing is taken away first."""
    moments = np.zeros((stored_VD.shape[1],) * 2)
    for start in range(0, len(stored_VD), _BATCH_ROWS):
        part = stored_VD[start : start + _BATCH_ROWS].astype(np.float64)
        moments += part.T @ part
    turned: np.ndarray = np.linalg.eigh(moments)[1].T[::-1].astype(np.float32)
    return turned


def write_turned(stored_VD: np.ndarray, rotation_DD: np.ndarray, path: Path) -> None:
    """The vectors, turned, as another .npy file, (V, D) float16."""
    turned = np.lib.format.open_memmap(path, "w+", np.float16, stored_VD.shape)
    for start in range(0, len(stored_VD), _BATCH_ROWS):
        part = stored_VD[start : start + _BATCH_ROWS].astype(np.float32)
        turned[start : start + _BATCH_ROWS] = part @ rotation_DD.T
    turned.flush()
