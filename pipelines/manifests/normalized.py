"""A source without fixed positions (lines, listings) written once as Parquet parts, which have them.

`manifest.json` is written last and atomically: a folder without it was left by a killed attempt. Lines go on in that
folder (`lines/write.py`); of listings and tars every attempt writes into a folder of its own.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import obstore
import pyarrow as pa

from operators.base.errors import clean_message
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, object_store
from pipelines.manifests.columns.texts import text_array
from pipelines.manifests.kept_names import kept_as
from pipelines.manifests.lines.write import LinesSource, write_lines_parts
from pipelines.manifests.manifest import OnRows, Shard, SourceConfig
from pipelines.manifests.parts import ROW_GROUP_ROWS, normalized_schema, part_name, write_parts
from pipelines.manifests.tars.listed import ListedImage, ListingNotes, read_beside_images
from pipelines.manifests.uris import check_uris

_BATCH_ROWS = 8_192
_RECORD = "manifest.json"
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


def find_normalized(work_uri: str, digest: str | None, storage: StorageOptions) -> Iterator[Normalized]:
    """The finished normalisations under `work_uri` with the digest; all of them for None."""
    store, prefix = object_store(work_uri, storage)
    paths = [meta["path"] for page in obstore.list(store, prefix or None) for meta in page]
    for path in sorted(path for path in paths if path.endswith("/" + _RECORD)):
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
    _record(done, source.storage)
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
    folder, per_part = _new_folder(work_uri), config.rows_per_shard
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
    _record(done, storage)
    return done


def write_listing(
    images: Iterable[ListedImage], config: SourceConfig, work_uri: str, storage: StorageOptions, progress: OnRows | None
) -> Normalized:
    """A listing as parts; its digest is computed on the way, so the store is listed once."""
    digest = ListingDigest(config)
    notes = ListingNotes()
    tables = (listing_table(batch, config, storage, notes) for batch in _batched(digest.observe(images), _BATCH_ROWS))
    folder, per_part = _new_folder(work_uri), config.rows_per_shard
    num_rows, _ = write_parts(tables, folder, per_part, storage, max_parts=None, progress=progress)
    done = Normalized(
        folder=folder,
        digest=digest.hexdigest(),
        num_rows=num_rows,
        rows_per_shard=per_part,
        complete=True,
        notices=notes.lines(),
    )
    _record(done, storage)
    return done


class ListingDigest:
    """sha256 over URI, size and etag or mtime of every listed image, in order, and of the files read beside it."""

    def __init__(self, config: SourceConfig) -> None:
        self._hash = hashlib.sha256(f"pixlake listing {_FORMAT} {config.rows_per_shard}\n".encode())
        if config.id_column is not None or config.keep:
            # Without columns as before they could be asked for: the listings of older tables are known by it.
            self._hash.update(repr((config.id_column, sorted(kept_as(config).items()))).encode())

    def observe(self, images: Iterable[ListedImage]) -> Iterator[ListedImage]:
        for image in images:
            for file in (image.file, *image.beside.values()):
                self._hash.update(f"{file.uri}\0{file.version}\n".encode("utf-8", "surrogateescape"))
            yield image

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _record(done: Normalized, storage: StorageOptions) -> None:
    """Write `manifest.json`, last: S3 and obstore's local store both make it whole or not at all."""
    record = {"format": _FORMAT} | {name: value for name, value in asdict(done).items() if name != "folder"}
    store, path = object_store(f"{done.folder}/{_RECORD}", storage)
    obstore.put(store, path, json.dumps(record, indent=1).encode())


def _new_folder(work_uri: str) -> str:
    return f"{work_uri.rstrip('/')}/{uuid.uuid4().hex[:12]}"


def _batched(items: Iterable[Any], count: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, count)):
        yield batch


def listing_table(
    images: Sequence[ListedImage], config: SourceConfig, storage: StorageOptions, notes: ListingNotes
) -> pa.Table:
    """Listed images under the normalised schema. A name that cannot be a URI (not UTF-8, say) makes a failed row."""
    names = [image.file.uri for image in images]
    errors: list[str | None] = [None] * len(images)
    said, problems = read_beside_images(images, config, storage, notes)
    for index, problem in problems.items():
        errors[index] = clean_message(f"{redact_uri(names[index])}: {problem}")
    uris, no_uris = check_uris(names)
    for index, problem in no_uris.items():
        errors[index] = clean_message(f"{names[index]!a}: {problem}")
    columns = [uris, *map(text_array, said), pa.array(errors, pa.string())]
    return pa.Table.from_arrays(columns, schema=normalized_schema(config))
