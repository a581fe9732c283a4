"""Hashes of rows and a number for each, on scratch disk: what a table holds, looked up without holding it in memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from operators.base.columns import ID, REGION, SHA256

_PARTS = 256
_ENTRY = np.dtype([("hash", "<u8"), ("value", "<u8")])
_MOST_ALIKE = 8
"""Entries of one hash that are looked at: rows of the same image, region and bytes have the same vector, so one is
enough, and more are there only for hashes that are the same by chance."""


class HashedRows:
    """16 bytes a row, in 256 files by the first byte of the hash; of a billion rows 16 GB of disk, and 64 MB of memory
    while a file is sorted. `sort` comes between the last `add` and the first `find`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self._sorted: dict[int, np.ndarray] = {}

    def add(self, hashes: np.ndarray, values: np.ndarray) -> None:
        """(N,) uint64 each."""
        entries = np.empty(len(hashes), _ENTRY)
        entries["hash"], entries["value"] = hashes, values
        for part, places in _by_part(hashes):
            with self._path(part).open("ab") as file:
                file.write(entries[places].tobytes())

    def sort(self) -> None:
        for part in range(_PARTS):
            if self._path(part).exists():
                entries = np.fromfile(self._path(part), _ENTRY)
                entries[np.argsort(entries["hash"], kind="stable")].tofile(self._path(part))
                self._sorted[part] = np.memmap(self._path(part), _ENTRY, mode="r")

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((M,) int64 places in `hashes`, (M,) uint64 values of entries with that hash), by place; at most eight
        for each."""
        places, values = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        for part, asked in _by_part(hashes):
            entries = self._sorted.get(part)
            if entries is None:
                continue
            wanted = hashes[asked]
            first = np.searchsorted(entries["hash"], wanted, "left")
            count = np.minimum(np.searchsorted(entries["hash"], wanted, "right") - first, _MOST_ALIKE)
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            places.append(np.repeat(asked, count))
            values.append(np.asarray(entries["value"][np.repeat(first, count) + within]))
        place, value = np.concatenate(places), np.concatenate(values)
        order = np.argsort(place, kind="stable")
        return place[order], value[order]

    def _path(self, part: int) -> Path:
        return self._folder / f"{part:02x}"


def _by_part(hashes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(part, places of its hashes) for each part that has any."""
    parts = (hashes >> np.uint64(56)).astype(np.int64)
    order = np.argsort(parts, kind="stable")
    found, starts = np.unique(parts[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, starts[1:]) if len(order) else [], strict=True)


def id_hashes(rows: pa.RecordBatch | pa.Table) -> np.ndarray:
    """(N,) uint64: a hash of each row's id."""
    return _hashes(rows[ID.name])


def content_hashes(rows: pa.RecordBatch | pa.Table) -> np.ndarray:
    """(N,) uint64: a hash of id, number of the region where each has a row, and sha256 of the image's bytes."""
    return _hashes(
        pc.binary_join_element_wise(
            rows[ID.name], _region_text(rows), rows[SHA256.name], "\x00", null_handling="replace"
        )
    )


def same_content(one: pa.Table, other: pa.Table) -> np.ndarray:
    """(N,) bool: whether rows at the same place are of the same image, region and bytes; a null is like nothing."""
    same = pc.and_(pc.equal(one[ID.name], other[ID.name]), pc.equal(one[SHA256.name], other[SHA256.name]))
    same = pc.and_(same, pc.equal(_region_text(one), _region_text(other)))
    found: np.ndarray = pc.fill_null(same, False).to_numpy(zero_copy_only=False)
    return found


def content_columns(schema: pa.Schema) -> list[str]:
    """The columns that say which image, region and bytes a row is of."""
    regions = [REGION.name] if REGION.name in schema.names else []
    return [ID.name, SHA256.name, *regions]


def _region_text(rows: pa.RecordBatch | pa.Table) -> pa.Array:
    if REGION.name not in rows.schema.names:
        return pa.array([""] * rows.num_rows, pa.string())
    return pc.cast(pc.struct_field(_one(rows[REGION.name]), "index"), pa.string())


def _hashes(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    digests = [xxhash.xxh3_64_intdigest((text or "").encode()) for text in texts.to_pylist()]
    return np.array(digests, np.uint64)


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
