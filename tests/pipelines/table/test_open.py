import os

import lance
import pyarrow as pa
import pytest

from made.tables import SCHEMA, SPACE, batch, lance_s3, names_in, open_committer, sink_of
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.commits.sink import FAILURES_SCHEMA
from pipelines.table.errors import RefusedError
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames
from pipelines.table.open import drop_tables, open_existing
from pipelines.table.table import Table


def test_an_existing_table_is_seen_without_claiming_it(tmp_path):
    names = names_in(tmp_path)
    assert open_existing(Table(names=names)) is None
    committer = open_committer(names, "r1")
    committer.commit([sink_of(names).write(batch(0, range(5), failed=[1]))])
    info = open_existing(Table(names=names))
    assert (info.vectors, info.failures, info.made_by_pixlake) == (4, 1, True)
    assert (info.term.number, info.term.run_id) == (1, "r1")
    assert info.schema.field("vector").metadata == SPACE
    assert info.version == lance.dataset(names.vectors).version == committer.versions["vectors"]


def test_a_table_of_another_maker_is_told(tmp_path):
    names = names_in(tmp_path)
    lance.write_dataset(pa.table({"a": [1]}), names.vectors)
    assert not open_existing(Table(names=names)).made_by_pixlake


def test_dropping_takes_both_tables_and_the_runs_and_nothing_else(tmp_path):
    names, beside = names_in(tmp_path), TableNames.from_table(f"{tmp_path}/photos2")
    for each in (names, beside):
        open_committer(each).commit([sink_of(each).write(batch(0, range(5), failed=[1]))])
    os.makedirs(f"{names.runs}/r1")
    drop_tables(Table(names=names))
    drop_tables(Table(names=names))
    assert sorted(os.listdir(tmp_path)) == ["photos2.lance", "photos2__failures.lance"]
    fresh = open_committer(names)
    assert fresh.created
    assert fresh.ledger.vectors.count == 0


@pytest.mark.s3
def test_dropping_on_s3_takes_that_table_only(s3):
    storage, options = StorageOptions(**s3.storage_options), lance_s3(s3.storage_options)
    folder = f"s3://{s3.bucket('lake')}/lake"
    names, beside = TableNames.from_table(f"{folder}/photos"), TableNames.from_table(f"{folder}/photos2")
    for each in (names, beside):
        committer = open_committer(each, storage=storage)
        committer.commit([sink_of(each, storage).write(batch(0, range(5), failed=[1]))])
    drop_tables(Table(names=names, storage=storage))
    assert open_existing(Table(names=names, storage=storage)) is None
    assert lance.dataset(beside.vectors, storage_options=options).count_rows() == 4
    assert open_committer(names, storage=storage).created


@pytest.mark.parametrize("made", ["failures", "both"])
def test_tables_of_a_run_that_was_killed_before_its_first_claim_are_taken_up(tmp_path, made):
    names = names_in(tmp_path)
    FencedTable.create_or_open(names.failures, FAILURES_SCHEMA, NO_OPTIONS)
    if made == "both":
        FencedTable.create_or_open(names.vectors, SCHEMA, NO_OPTIONS)
        assert open_existing(Table(names=names)).made_by_pixlake
    open_committer(names).commit([sink_of(names).write(batch(0, range(5), failed=[1]))])
    assert open_existing(Table(names=names)).vectors == 4


def test_a_table_whose_record_was_replaced_is_refused_and_not_taken_for_another_makers(tmp_path):
    names = names_in(tmp_path)
    open_committer(names).commit([sink_of(names).write(batch(0, range(5)))])
    for uri in (names.vectors, names.failures):
        # What one of the two still has would do.
        lance.dataset(uri).update_metadata({"theirs": "1"}, replace=True)
    with pytest.raises(RefusedError, match="recorded in the table's metadata is gone"):
        open_committer(names)
    assert open_existing(Table(names=names)).made_by_pixlake
