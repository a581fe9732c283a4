"""A table copied into a new one: rows, fields, records and artifacts, verified before anybody can write to it.

Whether a table has stable row ids is decided when it is made, so the only way to be rid of them is a new table.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import write_fragments

from operators.storage.stores import StorageOptions, lance_options
from pipelines.filter_index.trust import FILTER_PREFIX
from pipelines.index.records import INDEX_PREFIX
from pipelines.ledger.takedowns import Takedowns, record_takedowns
from pipelines.rewrite.files import copy_files
from pipelines.scan.plain import plain_scan
from pipelines.table.conditional_put import require_conditional_put
from pipelines.table.errors import RefusedError, TableError
from pipelines.table.fenced_table import FILE_FORMAT, FORMAT_KEY, TERM_KEY, FencedTable
from pipelines.table.open import COPY_KEY, CopyMark, check_format, drop_tables, read_copy_mark
from pipelines.table.positions import table_keys
from pipelines.table.publish import update_table_metadata
from pipelines.table.table import Table, open_dataset

CHUNK_BYTES, CHUNK_ROWS = 128 << 20, 1 << 18
"""Most bytes and rows of one fragment of the copy, and so of what is held in memory: 50,000 rows of 1280 float16
numbers."""
_BATCH_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """What was copied; `already` where an earlier run of the same command had done all of it."""

    version: int
    """Version of the old vector table."""
    vectors: int
    failures: int
    files: int
    """Files copied: artifacts, and the reports of runs."""
    indexes: tuple[str, ...]
    """Indexes of the old table; the new one has none yet."""
    already: bool


@dataclass(frozen=True, kw_only=True)
class _Sum:
    """What a copy and its original are compared by."""

    rows: int
    positions: int
    """Sum of all position keys, modulo 2**64."""


def rewrite_table(
    old: Table,
    new: Table,
    run_id: str,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> Rewritten:
    """Copy both tables and what lies beside them. `on_rows` is called with the rows copied and the rows in all.

    Takes the next term on the old table, so that a run on it can publish no more. A copy left by a killed call is
    dropped and made anew. Raises `RefusedError` where there is no table of Pixlake's or the new name is taken;
    `TableError` where the old table was changed meanwhile or the copy is not equal to it; `OSError`.
    """
    if old.uri == new.uri:
        raise RefusedError(f"{new.uri}: is the table itself; give the new one another name")
    sources = [_open(uri, old.storage) for uri in (old.uri, old.names.failures)]
    done = _done(sources[0], new)
    if done is not None:
        return done
    require_conditional_put(new)
    _drop_unfinished(sources, new)
    _take_over(sources, run_id)
    version = sources[0].dataset.version
    mark = CopyMark(table=old.uri, version=version, whole=False)
    targets = [
        _make(uri, source.dataset.schema, mark, run_id, new.storage)
        for uri, source in zip((new.uri, new.names.failures), sources, strict=True)
    ]
    total, copied = sum(source.dataset.count_rows() for source in sources), 0
    for source, target in zip(sources, targets, strict=True):
        for rows in _copy(source.dataset, target, new.storage):
            copied += rows
            on_rows(copied, total)
    runs = old.names.runs, new.names.runs
    files = copy_files(old.artifacts, new.artifacts, new.storage) + copy_files(*runs, new.storage, (".json",))
    # What was in the old table, and what was taken down there, holds of the new one too.
    copy_files(f"{runs[0]}/positions", f"{runs[1]}/positions", new.storage)
    # Said twice, after a copy that was cut off, a takedown says no more than once.
    record_takedowns(new, Takedowns.read(old).records)
    for source, target in zip(sources, targets, strict=True):
        _verify(source, target)
    # The vector table last: whoever finds it whole finds a whole pair.
    for source, target in zip(reversed(sources), reversed(targets), strict=True):
        target.set_metadata({**_records(source.metadata), COPY_KEY: replace(mark, whole=True).to_json()})
    return _report(sources[0], targets, files, already=False)


def _open(uri: str, storage: StorageOptions) -> FencedTable:
    dataset = open_dataset(uri, storage)
    if dataset is None:
        raise RefusedError(f"{uri}: there is no table")
    check_format(uri, dataset, None, dataset.schema)
    return FencedTable(uri, dataset, dataset.schema, storage)


def _done(source: FencedTable, new: Table) -> Rewritten | None:
    """The report where the new table already is a whole copy of the old one as it is now."""
    vectors, failures = (open_dataset(uri, new.storage) for uri in (new.uri, new.names.failures))
    mark = None if vectors is None else read_copy_mark(vectors.metadata)
    if vectors is None or failures is None or mark is None or not mark.whole:
        return None
    if (mark.table, mark.version) != (source.uri, source.dataset.version):
        raise RefusedError(
            f"{new.uri}: is a copy of version {mark.version} of {mark.table} already; choose another name"
        )
    targets = [FencedTable(each.uri, each, each.schema, new.storage) for each in (vectors, failures)]
    return _report(source, targets, 0, already=True)


def _drop_unfinished(sources: Sequence[FencedTable], new: Table) -> None:
    there = False
    for source, uri in zip(sources, (new.uri, new.names.failures), strict=True):
        dataset = open_dataset(uri, new.storage)
        if dataset is None:
            continue
        mark = read_copy_mark(dataset.metadata)
        # A call that was killed as it had just made the table had not marked it yet.
        made = dataset.version == 1 and not dataset.get_fragments() and dataset.schema.equals(source.dataset.schema)
        if not made and (mark is None or mark.table != sources[0].uri):
            raise RefusedError(f"{uri}: is there already, and is no copy of {sources[0].uri}; choose another name")
        there = True
    if there:
        drop_tables(new)


def _take_over(sources: Sequence[FencedTable], run_id: str) -> None:
    number = max(source.term.number for source in sources) + 1
    for source in sources:
        source.claim(number, run_id)


def _make(uri: str, schema: pa.Schema, mark: CopyMark, run_id: str, storage: StorageOptions) -> FencedTable:
    target, created = FencedTable.create_or_open(uri, schema.remove_metadata(), storage)
    if not created:
        raise RefusedError(f"{uri}: was made by another command at this moment; choose another name")
    update_table_metadata(uri, {COPY_KEY: mark.to_json()}, storage)
    target.reload()
    target.claim(1, run_id)
    return target


def _copy(source: "lance.LanceDataset", target: FencedTable, storage: StorageOptions) -> Iterator[int]:
    """Copy a table, giving the rows of each fragment when it is committed."""
    schema = target.dataset.schema
    for batches in _chunks(plain_scan(source, schema.names, batch_size=_BATCH_ROWS)):
        rows = pa.Table.from_batches(batches).cast(schema)
        fragments = write_fragments(
            rows,
            target.dataset,
            schema=schema,
            mode="append",
            data_storage_version=FILE_FORMAT,
            storage_options=lance_options(target.uri, storage),
        )
        target.append(fragments, table_keys(rows))
        yield rows.num_rows


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    chunk: list[pa.RecordBatch] = []
    for batch in batches:
        chunk.append(batch)
        if sum(b.nbytes for b in chunk) >= CHUNK_BYTES or sum(b.num_rows for b in chunk) >= CHUNK_ROWS:
            yield chunk
            chunk = []
    if sum(b.num_rows for b in chunk):
        yield chunk


def _verify(source: FencedTable, target: FencedTable) -> None:
    copied = source.dataset.version
    source.reload()
    if source.dataset.version != copied:
        raise TableError(
            f"{source.uri}: was changed (version {source.dataset.version}, not {copied}) while it was copied; the copy "
            "is unfinished. Run the same command again while nothing else writes to the table"
        )
    target.reload()
    there, here = _sum(source.dataset), _sum(target.dataset)
    if there != here:
        raise TableError(
            f"{target.uri}: holds {here.rows:,} rows with {here.positions} as the sum of their positions, the table "
            f"that was copied {there.rows:,} with {there.positions}; the copy is unfinished. Run the same command again"
        )
    if not target.dataset.schema.equals(source.dataset.schema.remove_metadata(), check_metadata=True):
        raise TableError(f"{target.uri}: its fields are not those of {source.uri}; the copy is unfinished")


def _sum(dataset: "lance.LanceDataset") -> _Sum:
    rows, positions = 0, 0
    for batch in plain_scan(dataset, ["shard", "row"]):
        rows += batch.num_rows
        positions += int(table_keys(batch).astype(np.uint64).sum(dtype=np.uint64))
    return _Sum(rows=rows, positions=positions % 2**64)


def _records(metadata: dict[str, str]) -> dict[str, str]:
    """The metadata to copy: not that of a run that holds the table, nor that of indexes, which are not copied."""
    own = (TERM_KEY, FORMAT_KEY, COPY_KEY)
    return {
        key: value
        for key, value in metadata.items()
        if key not in own and not key.startswith((INDEX_PREFIX, FILTER_PREFIX))
    }


def _report(source: FencedTable, targets: Sequence[FencedTable], files: int, *, already: bool) -> Rewritten:
    vectors, failures = (target.dataset.count_rows() for target in targets)
    return Rewritten(
        version=source.dataset.version,
        vectors=vectors,
        failures=failures,
        files=files,
        indexes=tuple(index.name for index in source.dataset.describe_indices()),
        already=already,
    )
