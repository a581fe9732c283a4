"""Parquet files that hold the images themselves, read on workers: the rows with their bytes, as they stream in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ERROR_FIELDS, ETAG, IMAGE_BYTES, REQUESTS
from operators.storage.stores import StorageOptions
from pipelines.manifests.files import fetched_etag
from pipelines.manifests.manifest import Columns, Shard
from pipelines.sources.shard_rows import ReadMeter, source_schema
from pipelines.sources.source import Source
from pipelines.sources.work import ShardWork, split_large

_BATCH_ROWS = 128
"""Most rows of one batch: read with their images, they are not the few bytes that other sources' rows are."""


@dataclass(frozen=True, kw_only=True)
class ImageSource(Source):
    """The rows of a `Source`, with their images' bytes. `columns.image` says where they are."""

    def schema(self) -> pa.Schema:
        schema = source_schema(self.columns)
        first = len(schema) - len(ERROR_FIELDS)
        return pa.schema([*list(schema)[:first], IMAGE_BYTES, ETAG, REQUESTS, *ERROR_FIELDS])

    def read_tasks(self, work: Sequence[ShardWork]) -> list[list[ShardWork]]:
        """A task for each shard, several for one of a huge row group."""
        return [[item] for item in split_large(work)]

    def read(self, work: ShardWork, rows_per_batch: int) -> Iterator[pa.Table]:
        """The wanted rows of one shard; holds one batch, and what is read ahead of a column."""
        assert self.columns.image is not None
        image, meter = IMAGE_BYTES.with_type(self.columns.image.type), ReadMeter()
        columns = replace(
            self.columns,
            kept=(*self.columns.kept, image),
            renamed=(*self.columns.renamed, (image.name, self.columns.image.name)),
        )
        schema = self.schema()
        for batch in self._read(columns, work, min(rows_per_batch, _BATCH_ROWS), meter):
            made = {
                IMAGE_BYTES.name: _bytes_of(batch[image.name]),
                ETAG.name: pa.array([_etag(work.shard)] * batch.num_rows, ETAG.type),
                REQUESTS.name: _requests(meter.taken(), batch.num_rows),
            }
            arrays = [made.get(field.name, batch[field.name] if field.name not in made else None) for field in schema]
            yield pa.Table.from_arrays(arrays, schema=schema)


def source_of(columns: Columns, storage: StorageOptions) -> Source:
    """What reads a manifest with these columns."""
    kind = Source if columns.image is None else ImageSource
    return kind(columns=columns, storage=storage)


def _bytes_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    return column.cast(IMAGE_BYTES.type)


def _etag(shard: Shard) -> str | None:
    """The file's."""
    return None if shard.version is None else fetched_etag(shard.path, shard.version)


def _requests(count: int, rows: int) -> pa.Array:
    """All of a batch's reads on its first row, so that the sum is what was asked for."""
    spent = np.zeros(rows, np.int16)
    spent[0] = count
    return pa.array(spent)
