"""A stream of Arrow tables written as Parquet parts of a fixed number of rows."""

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from operators.storage.stores import StorageOptions, filesystem
from pipelines.manifests.kept_names import kept_as
from pipelines.manifests.manifest import OnRows, SourceConfig

ROW_GROUP_ROWS = 65_536
ERROR_FIELD = pa.field("error", pa.string())
"""Why the row has no URI, with file and line; null for a good row."""


def normalized_schema(config: SourceConfig) -> pa.Schema:
    """`uri`, `id`, the kept columns as strings, `error`."""
    kept = [pa.field(name, pa.string()) for name in kept_as(config).values()]
    return pa.schema([pa.field("uri", pa.string()), pa.field("id", pa.string()), *kept, ERROR_FIELD])


def part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def write_parts(
    tables: Iterator[pa.Table],
    folder: str,
    rows_per_part: int,
    storage: StorageOptions,
    *,
    max_parts: int | None,
    progress: OnRows | None,
    first: int = 0,
    on_whole: Callable[[int], None] | None = None,
) -> tuple[int, bool]:
    """(rows written, whether that was all of them). Every part but the last has exactly `rows_per_part` rows.

    Holds at most one row group of 65,536 rows. Writes no part at all where there are no rows. `first` is the number of
    the first part; those before it are there, and `progress` counts their rows too. `on_whole` is told of each part of
    `rows_per_part` rows once it is written, before a row of the next one is asked for.
    """
    files, path = filesystem(folder, storage)
    files.makedirs(path, exist_ok=True)
    rows, num_parts, num_rows = _Rows(tables), first, 0
    while not rows.ended() and (max_parts is None or num_parts < max_parts):
        of_part = 0
        with files.open(f"{path}/{part_name(num_parts)}", "wb") as out:
            for written in _write_part(rows, out, rows_per_part):
                num_rows, of_part = num_rows + written, of_part + written
                if progress is not None:
                    progress(first * rows_per_part + num_rows)
        if on_whole is not None and of_part == rows_per_part:
            on_whole(num_parts)
        num_parts += 1
    return num_rows, rows.ended()


def _write_part(rows: "_Rows", out: object, wanted: int) -> Iterator[int]:
    """Writes one file, giving the rows of each row group as it is written."""
    group = rows.take(min(wanted, ROW_GROUP_ROWS))
    with pq.ParquetWriter(out, group.schema, compression="zstd") as writer:
        while group.num_rows:
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            yield group.num_rows
            wanted -= group.num_rows
            if not wanted or rows.ended():
                return
            group = rows.take(min(wanted, ROW_GROUP_ROWS))


class _Rows:
    """Tables of any size, given out as tables of the size asked for."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._held: list[pa.Table] = []
        self._num_held = 0

    def ended(self) -> bool:
        return not self._fill(1)

    def take(self, count: int) -> pa.Table:
        """The next `count` rows, fewer at the end. At least one row must be left."""
        self._fill(count)
        joined = pa.concat_tables(self._held)
        rest = joined.slice(count)
        self._held, self._num_held = [rest] if rest.num_rows else [], rest.num_rows
        return joined.slice(0, count)

    def _fill(self, count: int) -> bool:
        while self._num_held < count and (table := next(self._tables, None)) is not None:
            self._held.append(table)
            self._num_held += table.num_rows
        return self._num_held >= count
