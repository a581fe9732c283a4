"""A manifest known by what its rows say: the digest is the same for equal rows in equal places, however and whenever
they were written."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.columns.hive import hive_values
from pipelines.manifests.kept_types import is_text
from pipelines.manifests.manifest import Columns, Manifest, Shard
from pipelines.manifests.uris import parent_folder
from pipelines.sources.shard_rows import read_batches

_BATCH_ROWS = 65_536
_THREADS = 16


def content_digest(manifest: Manifest, storage: StorageOptions) -> str | None:
    """xxh3-128 in hex over the used columns of every row, its place, and the folder that relative URIs start from.

    None where the rows do not say everything: for a listing, for ready vectors, and where a limit ended the reading.
    Reads all of the manifest's used columns. Raises `SourceError` where a file is replaced meanwhile, `OSError` where
    one cannot be read.
    """
    if not manifest.rows_say_all or not manifest.complete:
        return None
    columns = manifest.columns
    with ThreadPoolExecutor(_THREADS) as threads:
        digests = list(threads.map(lambda shard: _of_shard(columns, shard, storage), manifest.shards))
    named = [(field.name, str(field.type)) for field in columns.kept]
    return _hex("1", repr((columns.id is None, named)), *digests)


def _of_shard(columns: Columns, shard: Shard, storage: StorageOptions) -> str:
    hashes = ColumnHashes()
    for batch in read_batches(columns, shard, None, storage, _BATCH_ROWS):
        for name in batch.schema.names:
            hashes.add(name, batch[name])
    folder = "" if columns.resolved else redact_uri(parent_folder(shard.path))
    order = [columns.uri, columns.id, *(columns.in_files(field.name) for field in columns.kept), "error"]
    said = [repr((name, hive_values(shard.path)[name])) for name in columns.in_path]
    return _hex(str(shard.num_rows), folder, *(hashes.digest(name) for name in order if name is not None), *said)


class ColumnHashes:
    """Hashes of columns that come in batches: the same whatever the batches, and however the types are encoded."""

    def __init__(self) -> None:
        self._parts: dict[str, xxhash.xxh3_128] = {}

    def add(self, name: str, array: pa.Array) -> None:
        """Hash the next rows of a column."""
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if is_text(array.type):
            array = array.cast(pa.large_binary())
        self._feed(f"{name}/valid", array.is_valid().cast(pa.uint8()))
        if pa.types.is_struct(array.type):
            for number, values in enumerate(array.flatten()):
                self.add(f"{name}/{number}", values)
        elif _is_list(array.type):
            lengths = pc.fill_null(pc.list_value_length(array).cast(pa.int64()), 0)
            self._feed(f"{name}/length", lengths)
            self.add(f"{name}/item", array.flatten())
        elif pa.types.is_large_binary(array.type):
            self._feed(f"{name}/length", pc.fill_null(pc.binary_length(array), 0))
            self._part(f"{name}/data").update(_bytes_of(array.drop_null()))
        elif _has_width(array.type):
            self._fixed(name, array.drop_null())
        else:
            # Maps and the like, which are rare: what Python makes of them.
            part = self._part(f"{name}/data")
            for value in array.to_pylist():
                part.update(f"{value!r}\n".encode("utf-8", "surrogateescape"))

    def _fixed(self, name: str, array: pa.Array) -> None:
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.uint8())
        part, data = self._part(f"{name}/data"), array.buffers()[1]
        width = array.type.bit_width // 8
        if data is not None:
            part.update(data.slice(array.offset * width, len(array) * width))

    def digest(self, name: str) -> str:
        """Digest of one column, over its parts in the order of their names."""
        mine = sorted(part for part in self._parts if part.partition("/")[0] == name)
        return _hex(*(f"{part.partition('/')[2]} {self._parts[part].hexdigest()}" for part in mine))

    def _feed(self, part: str, numbers: pa.Array) -> None:
        self._part(part).update(np.ascontiguousarray(numbers.to_numpy(zero_copy_only=False)).data)

    def _part(self, part: str) -> xxhash.xxh3_128:
        return self._parts.setdefault(part, xxhash.xxh3_128())


def _has_width(kind: pa.DataType) -> bool:
    tests = (pa.types.is_primitive, pa.types.is_decimal, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _bytes_of(array: pa.Array) -> pa.Buffer | bytes:
    """The bytes of the texts, one after the other."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return b""
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return data.slice(int(ends[0]), int(ends[-1] - ends[0]))


def _hex(*parts: str) -> str:
    return xxhash.xxh3_128_hexdigest("\0".join(parts).encode("utf-8", "surrogateescape"))
