"""The rows of a source with their versions, streamed: of a manifest, or of a listing that is made meanwhile."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ERROR, ID, SIZE_BYTES, URI
from operators.base.counted import counted
from operators.storage.redact import reason_of, redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.files import Listing, SourceFile, unreadable
from pipelines.manifests.listings.table import listing_table
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError
from pipelines.manifests.open import Links, roots_of
from pipelines.manifests.tars.listed import ListedImage, ListingNotes, asked_columns, listed_images
from pipelines.refresh.changes.changes import POSITION, VERSION
from pipelines.refresh.changes.versions import plain_etags, version_texts
from pipelines.sources.shard_rows import read_shard, uri_id

_LISTED_ROWS, _READ_ROWS = 8_192, 65_536
KEY = pa.field("row.key", pa.string(), nullable=False)
"""What rows are joined by: the id; of a manifest row that has none, why."""
_OF_NONE = "\0"
"""Before the reason of a row without an id, so that it is no id."""


def source_rows_schema(kept: tuple[pa.Field, ...]) -> pa.Schema:
    """Columns of a source's rows: with the size of a listed object, and why a row has no URI."""
    return pa.schema([KEY, ID, URI, *kept, SIZE_BYTES, VERSION, ERROR, POSITION])


def keys_of(rows: pa.Table | pa.RecordBatch) -> pa.Array | pa.ChunkedArray:
    """The `KEY` of rows with the columns `id` and `error`."""
    reasons = pc.binary_join_element_wise(_OF_NONE, pc.fill_null(rows[ERROR.name], ""), "")
    return pc.coalesce(rows[ID.name], reasons)


def manifest_rows(manifest: Manifest, versions: tuple[str, ...], images: StorageOptions) -> Iterator[pa.Table]:
    """The rows of a manifest; `versions` are the kept columns that say their version. Raises `SourceError` where a file
    of it cannot be read to its end, or is replaced meanwhile."""
    columns, rows = manifest.columns, 0
    try:
        for shard in manifest.shards:
            for table in read_shard(
                columns, shard, shard_number=0, wanted=None, storage=images, rows_per_batch=_READ_ROWS
            ):
                yield _rows(table, columns.kept, version_texts(table, versions), rows)
                rows += table.num_rows
    except (*unreadable(), pa.ArrowInvalid) as error:
        raise SourceError(
            f"{manifest.uri}: cannot be read beyond row {rows:,}: {reason_of(error)}. Nothing was changed; see to the "
            "storage, and run again"
        ) from error


class _ListedSoFar:
    def __init__(self) -> None:
        self.files = 0
        self.last: str | None = None

    def watch(self, files: Iterator[SourceFile]) -> Iterator[SourceFile]:
        for file in files:
            self.files += 1
            self.last = file.uri
            yield file


def listed_rows(files: Listing, config: SourceConfig, kept: tuple[pa.Field, ...]) -> Iterator[pa.Table]:
    """A row for each image that is listed. Raises `SourceError` where the listing ends early, or part of it is
    denied."""
    so_far, notes, rows, root = _ListedSoFar(), ListingNotes(), 0, files.place.uri
    found = listed_images(Links(roots_of(files.place)).see(so_far.watch(files.entries())), root, asked_columns(config))
    try:
        while images := list(islice(found, _LISTED_ROWS)):
            table = listing_table(images, config, files.storage, notes)
            at = table.schema.get_field_index(ID.name)
            table = table.set_column(at, ID, _ids(table))
            sizes = pa.array([image.file.size for image in images], SIZE_BYTES.type)
            yield _rows(table, kept, _etags(images), rows, sizes)
            rows += len(images)
    except unreadable() as error:
        raise ended_early(config, so_far.files, so_far.last, error) from error


def ended_early(config: SourceConfig, files: int, last: str | None, error: Exception) -> SourceError:
    """The error for a listing that gave so many files, the last of them `last`, and then failed."""
    upto = f" after {counted(files, 'file')}, the last of them {redact_uri(last)}" if last is not None else ""
    return SourceError(
        f"{redact_uri(config.uri)}: the listing ended early{upto}: {reason_of(error)}. What it has not named cannot be "
        "told from what was deleted, so nothing was changed; see to the storage, and run again"
    )


def _ids(table: pa.Table) -> pa.Array:
    pairs = zip(table[ID.name].to_pylist(), table[URI.name].to_pylist(), strict=True)
    return pa.array([text if text is not None or uri is None else uri_id(uri) for text, uri in pairs], ID.type)


def _etags(images: list[ListedImage]) -> pa.Array:
    return plain_etags(pa.array([image.file.etag for image in images], pa.string()))


def _rows(
    table: pa.Table, kept: tuple[pa.Field, ...], versions: pa.Array, first: int, sizes: pa.Array | None = None
) -> pa.Table:
    """Rows under `source_rows_schema`, numbered from `first`."""
    count = table.num_rows
    columns = [
        keys_of(table),
        table[ID.name],
        table[URI.name],
        *(table[field.name] for field in kept),
        pa.nulls(count, SIZE_BYTES.type) if sizes is None else sizes,
        versions,
        table[ERROR.name],
        pa.array(np.arange(first, first + count)),
    ]
    return pa.Table.from_arrays(columns, schema=source_rows_schema(kept))
