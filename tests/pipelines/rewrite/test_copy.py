"""A copy that is cut off, disturbed, or made in a bucket; what holds the old table can publish no more."""

from collections.abc import Callable
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from made.tables import SCHEMA, batch, lance_s3, names_in, open_committer, positions, read, sink_of
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.rewrite.copy import Rewritten, rewrite_table
from pipelines.table.errors import FencedError, RefusedError, TableError
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames
from pipelines.table.open import open_existing
from pipelines.table.table import Table


def made(names: TableNames, storage: StorageOptions = NO_OPTIONS) -> TableNames:
    """Two fragments, and rows 1 and 11 in the failures table."""
    committer, sink = open_committer(names, storage=storage), sink_of(names, storage)
    for first in (0, 10):
        committer.commit([sink.write(batch(0, range(first, first + 10), failed=[first + 1]))])
    return names


def beside(names: TableNames) -> TableNames:
    return TableNames(database=names.database, name="fresh")


def copy(names: TableNames, on_rows: Callable[[int, int], None] = lambda done, total: None) -> Rewritten:
    return rewrite_table(Table(names=names), Table(names=beside(names)), "rewrite", on_rows)


class Killed(BaseException):
    """Nothing catches it, as nothing does when a process is gone."""


@pytest.fixture
def names(tmp_path: Path) -> TableNames:
    return made(names_in(tmp_path))


@pytest.mark.parametrize("rows", [18, 20], ids=["between the two tables", "with all rows copied"])
def test_a_copy_that_was_cut_off_is_written_to_by_nobody_and_made_anew(names: TableNames, rows: int) -> None:
    def kill(done: int, total: int) -> None:
        assert total == 20
        if done == rows:
            raise Killed

    with pytest.raises(Killed):
        copy(names, kill)
    assert read(beside(names).vectors) == read(names.vectors)
    with pytest.raises(RefusedError, match=r"is an unfinished copy of .*photos"):
        open_committer(beside(names))
    report = copy(names)
    assert (report.vectors, report.failures, report.already) == (18, 2, False)
    assert (read(beside(names).vectors), read(beside(names).failures)) == (read(names.vectors), positions(0, [1, 11]))
    committer = open_committer(beside(names))
    committer.commit([sink_of(beside(names)).write(batch(0, range(20, 25)))])
    assert sum(read(beside(names).vectors).values()) == 23


def test_a_copy_that_was_cut_off_before_it_was_marked_is_made_anew(names: TableNames) -> None:
    FencedTable.create_or_open(beside(names).vectors, SCHEMA, NO_OPTIONS)
    assert copy(names).vectors == 18


@pytest.mark.parametrize("schema", [pa.schema([("a", pa.int64())]), SCHEMA], ids=["empty", "of another copy"])
def test_a_table_that_is_there_is_left_alone(names: TableNames, schema: pa.Schema) -> None:
    if schema is SCHEMA:
        made(beside(names))
    else:
        lance.LanceDataset.commit(beside(names).vectors, lance.LanceOperation.Overwrite(schema, []))
    version = lance.dataset(beside(names).vectors).version
    with pytest.raises(RefusedError, match="is there already, and is no copy of"):
        copy(names)
    assert lance.dataset(beside(names).vectors).version == version


def test_a_run_that_holds_the_table_can_publish_no_more(names: TableNames) -> None:
    committer = open_committer(names)
    receipt = sink_of(names).write(batch(0, range(20, 25)))
    copy(names)
    with pytest.raises(FencedError):
        committer.commit([receipt])
    assert read(names.vectors) == read(beside(names).vectors)


def test_a_change_by_another_tool_while_the_table_is_copied_is_seen(names: TableNames) -> None:
    with pytest.raises(TableError, match=r"was changed .* while it was copied"):
        copy(names, lambda done, total: lance.dataset(names.vectors).delete("row = 3"))
    with pytest.raises(RefusedError, match="unfinished copy"):
        open_committer(beside(names))
    assert copy(names).vectors == 17


@pytest.mark.s3
def test_a_table_in_a_bucket_is_copied_with_what_lies_beside_it(s3) -> None:  # type: ignore[no-untyped-def]
    storage, options = StorageOptions(**s3.storage_options), lance_s3(s3.storage_options)
    names = made(TableNames.from_table(f"s3://{s3.bucket('lake')}/lake/photos"), storage)
    report = rewrite_table(Table(names=names, storage=storage), Table(names=beside(names), storage=storage), "rewrite")
    assert (report.vectors, report.failures) == (18, 2)
    assert read(beside(names).vectors, options) == read(names.vectors, options)
    info = open_existing(Table(names=beside(names), storage=storage))
    assert info is not None
    assert info.made_by_pixlake
