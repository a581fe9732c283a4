import pickle

import lance
import numpy as np
import pyarrow as pa
import pytest

from made.tables import (
    SCHEMA,
    SPACE,
    batch,
    names_in,
    open_committer,
    positions,
    read,
    sink_of,
    vector_of,
)
from operators.base.errors import NEEDS_EXTRA, ErrorClass, Failure
from operators.base.rows import fail_rows, leave_undone
from pipelines.commits.receipts import Receipt
from pipelines.table.positions import table_keys


def test_rows_go_to_the_table_their_outcome_says(tmp_path):
    names = names_in(tmp_path)
    committer = open_committer(names)
    receipt = sink_of(names).write(batch(3, range(10), failed=[2, 5], skipped=[7]))
    assert read(names.vectors).total() == read(names.failures).total() == 0, "nothing is visible before a commit"
    published = committer.commit([receipt])
    assert (published.vectors, published.failures, published.skipped) == (7, 2, 1)
    assert read(names.vectors) == positions(3, [0, 1, 3, 4, 6, 8, 9])
    assert read(names.failures) == positions(3, [2, 5])


def test_what_was_not_attempted_is_counted_and_written_nowhere(tmp_path):
    names = names_in(tmp_path)
    committer = open_committer(names)
    table = leave_undone(batch(3, range(10), failed=[2], skipped=[7]), {0: "cap", 9: "cap"}, "embed")
    receipt = sink_of(names).write(table)
    assert (receipt.not_attempted, receipt.failure_counts) == (2, {"not_found": 1})
    published = committer.commit([receipt])
    assert (published.vectors, published.failures, published.skipped) == (6, 1, 1)
    assert read(names.vectors) == positions(3, [1, 3, 4, 5, 6, 8])
    assert read(names.failures) == positions(3, [2])
    assert not committer.ledger.done(3, 10)[[0, 9]].any(), "the next run takes them up"


def test_images_that_need_an_extra_are_counted_by_it(tmp_path):
    names = names_in(tmp_path)
    open_committer(names)
    errors = {0: f"HEIF {NEEDS_EXTRA.format('heif')}", 1: f"JPEG XL {NEEDS_EXTRA.format('jxl')}", 2: "a video"}
    failures = {row: Failure(error_class=ErrorClass.UNSUPPORTED_FORMAT, message=error) for row, error in errors.items()}
    failures[3] = Failure(error_class=ErrorClass.CORRUPT, message=errors[0])
    table = fail_rows(batch(3, range(6), failed=[5]), failures, "decode")
    receipt = sink_of(names).write(table)
    assert receipt.extra_counts == {"heif": 1, "jxl": 1}
    assert Receipt.from_table(receipt.to_table()) == [receipt]


def test_a_written_row_reads_back_value_by_value(tmp_path):
    names = names_in(tmp_path)
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(1, [4, 6], failed=[6]))])
    table = lance.dataset(names.vectors).to_table()
    assert table.schema.field("vector").metadata == SPACE
    assert table.schema.remove_metadata() == SCHEMA
    row = table.to_pylist()[0]
    assert np.array_equal(np.array(row.pop("vector"), "f2"), vector_of(1, 4))
    assert row == {
        "id": "id-1-4",
        "uri": "https://h/1/4.jpg?v=1",
        "width": 4,
        "height": 5,
        "format": "JPEG",
        "size_bytes": 100,
        "etag": "e",
        "sha256": "0" * 64,
        "label": "l4",
        "meta": {"a": 4, "tags": ["x"]},
        "shard": 1,
        "row": 4,
    }
    assert lance.dataset(names.failures).to_table().to_pylist() == [
        {
            "id": "id-1-6",
            "uri": "https://h/1/6.jpg?v=1",
            "stage": "fetch",
            "error_class": "not_found",
            "error": "404 for 6",
            "http_status": 404,
            "attempts": 1,
            "source_version": "e",
            "shard": 1,
            "row": 6,
        }
    ]


def test_the_receipt_counts_and_travels(tmp_path):
    names = names_in(tmp_path)
    open_committer(names)
    table = batch(3, range(10), failed=[2, 5], skipped=[7])
    receipt = pickle.loads(pickle.dumps(sink_of(names))).write(table)
    assert Receipt.from_table(receipt.to_table()) == [receipt]
    assert Receipt.from_row(receipt.to_table().to_pylist()[0]) == receipt
    assert receipt.failure_counts == {"not_found": 2}
    assert (receipt.size_bytes, receipt.requests) == (700, 20)
    assert receipt.seconds["fetch"] == 5.0
    assert receipt.seconds["write"] > 0
    assert receipt.written_bytes > 0
    assert np.array_equal(receipt.skipped_keys, table_keys(table)[7:8])
    assert len(receipt.vector_keys) == 7


def test_a_batch_without_rows_writes_nothing(tmp_path):
    names = names_in(tmp_path)
    open_committer(names)
    receipt = sink_of(names).write(batch(0, []))
    assert (receipt.vector_fragments, receipt.failure_fragments) == ("[]", "[]")
    assert not list(tmp_path.glob("photos.lance/data/*"))


def test_a_batch_that_is_not_as_declared_is_refused(tmp_path):
    names = names_in(tmp_path)
    open_committer(names)
    sink = sink_of(names)
    with pytest.raises(ValueError, match=r"lacks label"):
        sink.write(batch(0, range(3)).drop_columns(["label"]))
    with pytest.raises(ValueError, match=r"twice in one batch: \(shard, row\) \(0, 1\)"):
        sink.write(batch(0, [0, 1, 1]))
    good = batch(0, range(3))
    empty = good.set_column(
        good.schema.get_field_index("vector"), SCHEMA.field("vector"), pa.nulls(3, SCHEMA.field("vector").type)
    )
    with pytest.raises(ValueError, match=r"no vector and no error class at \(shard, row\) \(0, 0\)"):
        sink.write(empty)
