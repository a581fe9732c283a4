"""A source without fixed positions (lines, listings) written once as Parquet parts, which have them.

`manifest.json` is written last and atomically: a folder without it was left by a killed attempt. Lines go on in that
folder (`lines/write.py`); of listings and tars every attempt writes into a folder of its own, to which that of a
listing takes over what an earlier one has written (`listings/write.py`).
"""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import obstore
import pyarrow as pa

from operators.storage.stores import StorageOptions, object_store
from pipelines.manifests.lines.write import LinesSource, write_lines_parts
from pipelines.manifests.manifest import OnRows, Shard, SourceConfig
from pipelines.manifests.parts import ROW_GROUP_ROWS, part_name, write_parts

_BATCH_ROWS = 8_192
RECORD = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Normalized:
    """A finished normalisation: `part-00000.parquet` and so on, each with `rows_per_shard` rows but the last."""

    folder: str
    digest: str
    num_rows: int
    rows_per_shard: int
    complete: bool
    notices: tuple[str, ...] = ()
    """What the user should know of the files that were read."""

    def shards(self) -> tuple[Shard, ...]:
        starts = range(0, self.num_rows, self.rows_per_shard)
        return tuple(self._shard(number, first) for number, first in enumerate(starts))

    def _shard(self, number: int, first_row: int) -> Shard:
        rows = min(self.rows_per_shard, self.num_rows - first_row)
        groups = range(-(-rows // ROW_GROUP_ROWS))
        path = f"{self.folder}/{part_name(number)}"
        return Shard(number=number, path=path, row_groups=groups, first_row=first_row, num_rows=rows)


def work_files(work_uri: str, storage: StorageOptions) -> list[str]:
    """Paths in the store of all that was ever written under `work_uri`."""
    store, prefix = object_store(work_uri, storage)
    return [meta["path"] for page in obstore.list(store, prefix or None) for meta in page]


def find_normalized(work_uri: str, digest: str | None, storage: StorageOptions) -> Iterator[Normalized]:
    """The finished normalisations under `work_uri` with the digest; all of them for None."""
    store, _ = object_store(work_uri, storage)
    for path in sorted(path for path in work_files(work_uri, storage) if path.endswith("/" + RECORD)):
        record = json.loads(bytes(obstore.get(store, path).bytes()))
        if record["format"] != _FORMAT or (digest is not None and record["digest"] != digest):
            continue
        del record["format"]
        record["notices"] = tuple(record.get("notices", ()))
        yield Normalized(folder=f"{work_uri.rstrip('/')}/{path.split('/')[-2]}", **record)


def find_covering(work_uri: str, digest: str, limit: int | None, storage: StorageOptions) -> Normalized | None:
    """A finished normalisation with the digest that has all rows, or as many as the limit asks for."""
    for found in find_normalized(work_uri, digest, storage):
        if found.complete or (limit is not None and found.num_rows >= limit):
            return found
    return None


def write_lines(source: LinesSource, digest: str, work_uri: str, progress: OnRows | None) -> Normalized:
    """Text, CSV or JSON Lines files as parts; those that an earlier start has written are kept. With a limit, it stops
    at the end of the part that holds the last row."""
    folder = f"{work_uri.rstrip('/')}/lines-{digest[:24]}"
    written = write_lines_parts(source, folder, progress)
    done = Normalized(
        folder=folder,
        digest=digest,
        num_rows=written.num_rows,
        rows_per_shard=source.config.rows_per_shard,
        complete=written.complete,
    )
    record(done, source.storage)
    return done


def write_rows(
    tables: Iterator[pa.Table],
    config: SourceConfig,
    digest: str,
    work_uri: str,
    storage: StorageOptions,
    progress: OnRows | None,
    notices: Callable[[], tuple[str, ...]] = lambda: (),
) -> Normalized:
    """Tables as parts. With a limit, it stops at the end of the part that holds the last row. `notices` are asked for
    at the end."""
    folder, per_part = new_folder(work_uri), config.rows_per_shard
    max_parts = None if config.limit is None else -(-config.limit // per_part)
    num_rows, complete = write_parts(tables, folder, per_part, storage, max_parts=max_parts, progress=progress)
    done = Normalized(
        folder=folder,
        digest=digest,
        num_rows=num_rows,
        rows_per_shard=per_part,
        complete=complete,
        notices=notices(),
    )
    record(done, storage)
    return done


def record(done: Normalized, storage: StorageOptions) -> None:
    """Write `manifest.json`, last: S3 and obstore's local store both make it whole or not at all."""
    record = {"format": _FORMAT} | {name: value for name, value in asdict(done).items() if name != "folder"}
    store, path = object_store(f"{done.folder}/{RECORD}", storage)
    obstore.put(store, path, json.dumps(record, indent=1).encode())


def new_folder(work_uri: str) -> str:
    return f"{work_uri.rstrip('/')}/{uuid.uuid4().hex[:12]}"
