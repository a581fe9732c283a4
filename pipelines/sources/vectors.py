"""Ready vectors read on workers: the rows of a metadata file, each with its row of the npy file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from operators.base.arrays import vector_field, vectors_from_numpy
from operators.base.columns import ERROR_FIELDS, FETCH_FIELDS, IMAGE_FIELDS, VECTOR
from operators.storage.redact import redact_uri
from pipelines.export.npy import NpyFile, open_npy
from pipelines.manifests.files import file_info
from pipelines.manifests.manifest import SourceError
from pipelines.manifests.vectors.folder import VectorShard
from pipelines.sources.shard_rows import read_shard, source_schema
from pipelines.sources.source import Source
from pipelines.sources.work import ShardWork, epochs, split

_TASK_BYTES = 64 << 20
"""Bytes of vectors in one task on a cluster: they are one block of Ray's."""


@dataclass(frozen=True, kw_only=True)
class VectorSource(Source):
    """The rows of a `Source`, with their vectors. Positions: a shard for each npy file, rows in the file's order."""

    dim: int
    dtype: str
    facts: tuple[pa.Field, ...] = ()
    """Columns about the image that the metadata has; the others of their kind are null."""

    def schema(self) -> pa.Schema:
        schema = source_schema(self.columns)
        first = len(schema) - len(ERROR_FIELDS)
        value_type = pa.from_numpy_dtype(np.dtype(self.dtype))
        made = [*IMAGE_FIELDS, *FETCH_FIELDS, vector_field(self.dim, value_type, VECTOR)]
        return pa.schema([*list(schema)[:first], *made, *ERROR_FIELDS])

    def read_tasks(self, work: Sequence[ShardWork]) -> list[list[ShardWork]]:
        rows = max(1, _TASK_BYTES // (self.dim * np.dtype(self.dtype).itemsize))
        return list(epochs(split(work, rows), rows))

    def read(self, work: ShardWork, rows_per_batch: int) -> Iterator[pa.Table]:
        """The wanted rows of one shard; holds one batch. Raises `SourceError` where a file has been replaced."""
        shard = work.shard
        assert isinstance(shard, VectorShard)
        _check_version(shard.npy, self)
        batches = read_shard(
            replace(self.columns, kept=(*self.columns.kept, *self.facts)),
            shard,
            shard_number=work.shard_number,
            wanted=work.wanted(),
            storage=self.storage,
            skip_ids=self.skip_ids,
            taken_down=self.taken_down,
            rows_per_batch=rows_per_batch,
        )
        schema = self.schema()
        with open_npy(shard.npy, self.storage) as npy:
            for batch in batches:
                rows = batch["row"].to_numpy()
                first = int(rows[0])
                vectors = npy.read(first, int(rows[-1]) + 1 - first)[rows - first]
                columns = {VECTOR: vectors_from_numpy(vectors)}
                yield pa.Table.from_arrays(
                    [
                        columns[field.name]
                        if field.name in columns
                        else batch[field.name]
                        if field.name in batch.column_names
                        else pa.nulls(batch.num_rows, field.type)
                        for field in schema
                    ],
                    schema=schema,
                )


def _check_version(npy: NpyFile, source: Source) -> None:
    if file_info(npy.uri, source.storage).version != npy.version:
        raise SourceError(
            f"{redact_uri(npy.uri)} was replaced while the run was reading it; positions in it no longer hold. "
            "Put the old file back, or start the run again"
        )
