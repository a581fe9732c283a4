"""Parquet manifests read in place: the driver reads only their footers."""

import traceback
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from operators.base.errors import clean_message
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, filesystem
from pipelines.manifests.files import SourceFile
from pipelines.manifests.manifest import URI_COLUMNS, Shard, SourceConfig, SourceError

SHARD_ROWS = 262_144
"""Row groups are joined into one shard of up to this many rows; a larger row group is a shard of its own."""
SHARD_BYTES = 128 << 20
"""The same where rows hold images: a shard is read by one task, which holds it."""
_FOOTER_THREADS = 16


@dataclass(frozen=True)
class Footer:
    schema: pa.Schema
    group_rows: tuple[int, ...]
    group_bytes: tuple[int, ...]
    """Bytes of all of a row group's columns, before compression."""
    metadata: Mapping[bytes, bytes]
    """Metadata of the schema."""
    all_null: frozenset[str]
    """The columns that were asked for and hold no value."""

    @property
    def rows(self) -> int:
        return sum(self.group_rows)


def first_with_rows(footers: Sequence[Footer]) -> Footer:
    """The first footer that says anything: that of a file without rows may not even have the columns."""
    return next((footer for footer in footers if footer.rows), footers[0])


def read_footers(files: Sequence[SourceFile], config: SourceConfig, storage: StorageOptions) -> list[Footer]:
    """Schema and row counts of every file, 16 files at a time. Raises `SourceError` for a file that is not Parquet."""
    named = (config.uri_column, config.id_column, config.bytes_column)
    asked = {*URI_COLUMNS, *config.keep, *(name for name in named if name is not None)}
    with ThreadPoolExecutor(_FOOTER_THREADS) as threads:
        return list(threads.map(lambda file: _read_footer(file.uri, asked, storage), files))


def plan_shards(
    files: Sequence[SourceFile], footers: Sequence[Footer], *, max_bytes: int | None = None
) -> tuple[Shard, ...]:
    """Contiguous row groups of one file up to `SHARD_ROWS` rows, and `max_bytes`, in file order. Empty row groups make
    no shard."""
    shards: list[Shard] = []
    first_row = 0
    for file, footer in zip(files, footers, strict=True):
        file_row = 0
        for groups, rows, size in _join_groups(footer, max_bytes):
            shards.append(
                Shard(
                    number=len(shards),
                    path=file.uri,
                    row_groups=groups,
                    first_row=first_row,
                    num_rows=rows,
                    file_row=file_row,
                    version=file.version,
                    num_bytes=size,
                )
            )
            first_row += rows
            file_row += rows
    return tuple(shards)


def _join_groups(footer: Footer, max_bytes: int | None) -> list[tuple[range, int, int]]:
    joined: list[tuple[range, int, int]] = []
    start, rows, size = 0, 0, 0
    for index, (count, held) in enumerate(zip(footer.group_rows, footer.group_bytes, strict=True)):
        if rows and (rows + count > SHARD_ROWS or (max_bytes is not None and size + held > max_bytes)):
            joined.append((range(start, index), rows, size))
            start, rows, size = index, 0, 0
        rows += count
        size += held
    if rows:
        joined.append((range(start, len(footer.group_rows)), rows, size))
    return joined


DAMAGE = (pa.ArrowException, UnicodeDecodeError, OSError)
"""What reading a damaged Parquet file may raise; of an `OSError`, which storage that fails raises too, only what
`is_damage`."""


def is_damage(error: BaseException) -> bool:
    """Whether an error of `DAMAGE` lies in the file's bytes and not in how they were reached."""
    if not isinstance(error, OSError):
        return True
    # Arrow's own have no number, and come out of its own code: those of a stream that it reads, out of the stream's.
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    return type(error) is OSError and error.errno is None and "pyarrow" in innermost.f_code.co_filename


def _read_footer(uri: str, asked: Collection[str], storage: StorageOptions) -> Footer:
    files, path = filesystem(uri, storage)
    try:
        with files.open(path, "rb") as stream:
            metadata = pq.read_metadata(stream)
            schema = metadata.schema.to_arrow_schema()
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            rows, sizes = tuple(g.num_rows for g in groups), tuple(g.total_byte_size for g in groups)
            paths = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
            all_null = frozenset(
                name for name in asked if name in paths and all(_is_null(g, paths.index(name)) for g in groups)
            )
    except FileNotFoundError as error:
        raise SourceError(f"no file {redact_uri(uri)}; check the name and the storage options") from error
    except DAMAGE as error:
        if not is_damage(error):
            raise
        what = clean_message(str(error))
        raise SourceError(f"{redact_uri(uri)}: not a whole Parquet file ({what}); write it again") from error
    return Footer(schema.remove_metadata(), rows, sizes, schema.metadata or {}, all_null)


def _is_null(group: pq.RowGroupMetaData, at: int) -> bool:
    """Whether a row group's statistics say that a column has no value."""
    statistics = group.column(at).statistics
    return bool(statistics is not None and statistics.has_null_count and statistics.null_count == group.num_rows)
