"""Images that lie within tars and Parquet files, read again by the positions of their rows.

A tar's rows say where the bytes of each image lie, and are found where the first run has written them. Of Parquet a
column chunk can only be read from its start, so an image costs the part of its row group before it.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.base.columns import ROW, SHARD, URI
from operators.base.errors import ErrorClass, Failure, UserError
from operators.base.rows import fail_rows, set_column, source_rows
from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, filesystem
from pipelines.ledger.entries import ManifestEntry
from pipelines.manifests.file_kinds import is_tar_name, manifest_kind
from pipelines.manifests.manifest import Manifest, Shard
from pipelines.reread.manifests import OpenedManifest
from pipelines.sources.image_bytes import source_of
from pipelines.sources.work import shard_work
from pipelines.table.positions import table_keys

OpenEntry = Callable[[ManifestEntry], OpenedManifest]
MOST_GROUP_BYTES = 1 << 30
"""Bytes of images in one row group, as they are stored: more is not read for a picture."""
BLOCK_ROWS = 64
_STAGE = "source"


class PackedRows:
    """Rows as operators read them, for images that a table names by URI and position. Thread-safe."""

    def __init__(self, open_entry: OpenEntry, storage: StorageOptions) -> None:
        self._open, self._storage = open_entry, storage
        self._opened: dict[tuple[str, int], OpenedManifest] = {}
        self._groups: dict[str, list[tuple[Shard, int]]] = {}
        self._lock = threading.Lock()

    def rows(self, asked: pa.Table, entries: Sequence[ManifestEntry]) -> Iterator[pa.Table]:
        """Up to `BLOCK_ROWS` at a time, in any order, a row for each of the `asked` (N rows with `uri`, `shard`, `row`;
        each URI once): by its URI alone, or with `packed_in` or `image_bytes` where a file of its manifest holds the
        image. One whose file cannot be read, or holds another image there, has failed."""
        uris, keys = asked[URI.name].to_pylist(), table_keys(asked)
        loose, of_entry = list[str | None](), dict[int, dict[int, str]]()
        for uri, key in zip(uris, keys.tolist(), strict=True):
            owner = owner_of(entries, key >> 32) if uri is not None and "#" in uri else None
            if owner is None:
                loose.append(uri)
            else:
                of_entry.setdefault(owner, {})[key] = uri
        for owner, wanted in of_entry.items():
            opened = self._manifest(entries[owner])
            if opened.manifest is not None and _holds_images(opened.manifest):
                yield from self._of_manifest(opened, opened.manifest, wanted)
            elif opened.manifest is None and any(map(_is_packed_name, wanted.values())):
                why = f"it lies in a file with others, and where is not known: {opened.why_not}"
                yield _failed(list(wanted.values()), ErrorClass.NOT_FOUND, why)
            else:
                loose += wanted.values()
        for start in range(0, len(loose), BLOCK_ROWS):
            yield source_rows(loose[start : start + BLOCK_ROWS])

    def around(self, key: int, entries: Sequence[ManifestEntry]) -> Iterator[pa.Table]:
        """Rows of the manifest that has the position `key` (`shard << 32 | row`), that one and some on either side;
        none where that manifest holds no images itself. Raises `UserError`, `OSError`."""
        owner = owner_of(entries, key >> 32)
        opened = None if owner is None else self._manifest(entries[owner])
        if opened is None or opened.manifest is None or not _holds_images(opened.manifest):
            return
        first = (key & 0xFFFFFFFF) // BLOCK_ROWS * BLOCK_ROWS
        for shard in opened.manifest.shards:
            if opened.entry.first_shard + shard.number == key >> 32:
                rows = np.arange(first, min(first + BLOCK_ROWS, shard.num_rows))
                yield from self._of_shard(opened.manifest, shard, key >> 32, rows)

    def _manifest(self, entry: ManifestEntry) -> OpenedManifest:
        key = (entry.digest, entry.rows)
        with self._lock:
            found = self._opened.get(key)
            if found is None:
                found = self._open(entry)
                if found.why_not is None:
                    self._opened[key] = found
            return found

    def _of_manifest(self, opened: OpenedManifest, manifest: Manifest, wanted: dict[int, str]) -> Iterator[pa.Table]:
        """Of rows by their keys, with their URIs."""
        left = dict(wanted)
        for shard in manifest.shards:
            number = opened.entry.first_shard + shard.number
            own = sorted(key for key in left if key >> 32 == number)
            if not own:
                continue
            try:
                for batch in self._of_shard(manifest, shard, number, np.array(own) & 0xFFFFFFFF):
                    found = zip(table_keys(batch).tolist(), batch[URI.name].to_pylist(), strict=True)
                    same = [left.get(key) == uri and left.pop(key, None) is not None for key, uri in found]
                    yield batch.filter(pa.array(same))
            except (UserError, OSError, pa.ArrowException) as error:
                yield _failed(
                    [left.pop(key) for key in own if key in left], ErrorClass.SOURCE_CHANGED, reason_of(error)
                )
        if left:
            yield _failed(list(left.values()), ErrorClass.SOURCE_CHANGED, "its manifest has another image in its place")

    def _of_shard(self, manifest: Manifest, shard: Shard, number: int, rows: np.ndarray) -> Iterator[pa.Table]:
        """The rows (M,), ascending, of a shard, at the positions that they have there."""
        source = source_of(manifest.columns, self._storage)
        for part, first in self._parts(manifest, shard):
            own = rows[(rows >= first) & (rows < first + part.num_rows)]
            mask = np.zeros(part.num_rows, bool)
            mask[own - first] = True
            item, done = shard_work(part, number, mask), 0
            for batch in source.read(item, BLOCK_ROWS) if item is not None else ():
                yield set_column(batch, ROW, pa.array(own[done : done + batch.num_rows], ROW.type))
                done += batch.num_rows

    def _parts(self, manifest: Manifest, shard: Shard) -> list[tuple[Shard, int]]:
        """(part of the shard that is read by itself, its first row within the shard). Raises `UserError` for one that
        is too large to be read for pictures, `OSError`."""
        if manifest.columns.image is None:
            return [(shard, 0)]
        key = f"{manifest.digest} {shard.number}"
        with self._lock:
            known = self._groups.get(key)
        if known is None:
            known = _row_groups(shard, manifest.columns.image.name, self._storage)
            with self._lock:
                self._groups[key] = known
        return known


def one_a_uri(rows: pa.Table) -> pa.Table:
    """(M rows with `uri`, `shard`, `row`): where the first row of each URI stands, to be asked for."""
    there = rows.group_by(URI.name, use_threads=False).aggregate([(SHARD.name, "first"), (ROW.name, "first")])
    firsts = [URI.name, f"{SHARD.name}_first", f"{ROW.name}_first"]
    return there.select(firsts).rename_columns([URI.name, SHARD.name, ROW.name])


def _row_groups(shard: Shard, image: str, storage: StorageOptions) -> list[tuple[Shard, int]]:
    files, path = filesystem(shard.path, storage)
    with files.open(path, "rb") as stream:
        metadata = pq.read_metadata(stream)
    there = sum(metadata.row_group(each).num_rows for each in shard.row_groups if each < metadata.num_row_groups)
    if there != shard.num_rows:
        raise UserError("the file that holds it was written again since it was embedded; embed it again")
    found, first = [], 0
    for number in shard.row_groups:
        group = metadata.row_group(number)
        columns = (group.column(at) for at in range(group.num_columns))
        size = sum(each.total_compressed_size for each in columns if each.path_in_schema.split(".")[0] == image)
        if size > MOST_GROUP_BYTES:
            raise UserError(
                f"its row group holds {size / 2**30:.1f} GiB of images, all of which may have to be read for one "
                "picture; write files with smaller row groups to see them"
            )
        part = replace(
            shard,
            row_groups=range(number, number + 1),
            num_rows=group.num_rows,
            first_row=shard.first_row + first,
            file_row=shard.file_row + first,
        )
        found.append((part, first))
        first += group.num_rows
    return found


def owner_of(entries: Sequence[ManifestEntry], shard: int) -> int | None:
    """Index of the entry that has the shard; None also where a refresh has brought it, which is of no packed source."""
    owners = (
        at for at, entry in enumerate(entries) if 0 <= shard - entry.first_shard < entry.num_shards and not entry.delta
    )
    return next(owners, None)


def _holds_images(manifest: Manifest) -> bool:
    return manifest.columns.packed or manifest.columns.image is not None


def _is_packed_name(uri: str) -> bool:
    name = uri.rpartition("#")[0]
    return is_tar_name(name) or manifest_kind(name) == "parquet"


def _failed(uris: Sequence[str | None], kind: ErrorClass, why: str) -> pa.Table:
    return fail_rows(source_rows(uris), dict.fromkeys(range(len(uris)), Failure(error_class=kind, message=why)), _STAGE)
