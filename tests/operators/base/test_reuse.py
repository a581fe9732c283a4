"""Rows with the same bytes are worked on once; what comes out is what work on every row would give."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vectors_from_numpy
from operators.base.columns import ERROR_CLASS, ERROR_FIELDS, IMAGE_BYTES, ROW
from operators.base.errors import ErrorClass, Failure
from operators.base.reuse import KnownImages
from operators.base.rows import fail_rows, set_column

BAD = 7


def block(contents: Sequence[int | None], boxes: Sequence[list[float]] | None = None) -> pa.Table:
    """A row for each content, which is its digest and its bytes; one without has failed already."""
    count = len(contents)
    table = pa.table(
        {
            "row": pa.array(range(count), pa.int32()),
            "sha256": [None if each is None else f"{each:064x}" for each in contents],
            "image_bytes": pa.array([None if each is None else bytes([each]) for each in contents], IMAGE_BYTES.type),
            "boxes": pa.array(boxes or [[0.0]] * count),
            **{field.name: pa.nulls(count, field.type) for field in ERROR_FIELDS},
        }
    )
    failures = {
        row: Failure(error_class=ErrorClass.NOT_FOUND, message="none")
        for row, each in enumerate(contents)
        if each is None
    }
    return fail_rows(table, failures, "fetch")


class Embedding:
    """Like an operator: bytes and boxes to a vector and a list, `BAD` bytes to a failure; counts what it worked on."""

    def __init__(self) -> None:
        self.worked: list[int | None] = []
        self.lock = threading.Lock()

    def __call__(self, rows: pa.Table) -> pa.Table:
        contents = [data[0] if data else None for data in rows["image_bytes"].to_pylist()]
        with self.lock:
            self.worked += contents
        boxes = rows["boxes"].to_pylist()
        vectors = np.array([[each or 0, sum(box)] for each, box in zip(contents, boxes, strict=True)], np.float32)
        rows = rows.drop_columns([IMAGE_BYTES.name])
        rows = rows.append_column("vector", vectors_from_numpy(vectors.reshape(-1, 2)))
        labels = [[str(each)] * len(box) for each, box in zip(contents, boxes, strict=True)]
        rows = rows.append_column("labels", pa.array(labels, pa.list_(pa.string())))
        bad = {
            row: Failure(error_class=ErrorClass.CORRUPT, message="bad")
            for row, each in enumerate(contents)
            if each == BAD
        }
        return fail_rows(rows, bad, "decode")


def plain(table: pa.Table) -> pa.Table:
    return table.drop_columns(["reused"]).combine_chunks()


def reused(table: pa.Table) -> list[int]:
    return table["reused"].to_pylist()


def test_repeats_in_a_block_and_of_earlier_blocks_are_copies() -> None:
    known, work = KnownImages(()), Embedding()
    first = block([1, 2, 1, None, 3, 1])
    second = block([4, 3, None, 2, 4, 5])
    outs = [known.through(each, work) for each in (first, second)]
    assert work.worked == [1, 2, None, 3, 4, None, 5]
    assert [reused(out) for out in outs] == [[0, 0, 1, 0, 0, 1], [0, 1, 0, 1, 1, 0]]
    for given, out in zip((first, second), outs, strict=True):
        assert plain(out).equals(plain_work(given))


def plain_work(given: pa.Table) -> pa.Table:
    return Embedding()(given).combine_chunks()


def test_without_repeats_nothing_is_copied() -> None:
    known, work = KnownImages(()), Embedding()
    for contents in ([1, 2, 3], [4, 5, None], []):
        out = known.through(block(contents), work)
        assert reused(out) == [0] * len(contents)
        assert plain(out).equals(plain_work(block(contents)))


def test_a_block_of_one_image_known_already() -> None:
    known, work = KnownImages(()), Embedding()
    known.through(block([9]), work)
    out = known.through(block([9] * 5), work)
    assert work.worked == [9]
    assert reused(out) == [1] * 5
    assert plain(out).equals(plain_work(block([9] * 5)))


def test_failures_are_never_copied() -> None:
    known, work = KnownImages(()), Embedding()
    outs = [known.through(block(contents), work) for contents in ([BAD, 1, BAD, BAD], [BAD, 1])]
    assert work.worked.count(BAD) == 4
    assert [reused(out) for out in outs] == [[0, 0, 0, 0], [0, 1]]
    assert outs[0][ERROR_CLASS.name].to_pylist() == ["corrupt", None, "corrupt", "corrupt"]
    assert outs[0][ROW.name].to_pylist() == [0, 1, 2, 3]
    assert plain(outs[1]).equals(plain_work(block([BAD, 1])))


def test_other_columns_that_decide_tell_images_apart() -> None:
    known, work = KnownImages(("boxes",)), Embedding()
    boxes = [[1.0, 2.0], [1.0, 2.0], [3.0], [1.0, 2.0]]
    given = block([1, 1, 1, 2], boxes)
    out = known.through(given, work)
    assert reused(out) == [0, 1, 0, 0]
    assert plain(out).equals(plain_work(given))


def test_columns_that_a_row_brings_stay_its_own() -> None:
    known, work = KnownImages(()), Embedding()
    given = set_column(block([1, 1, 1]), pa.field("row", pa.int32()), pa.array([30, 10, 20], pa.int32()))
    assert known.through(given, work)["row"].to_pylist() == [30, 10, 20]


def test_the_oldest_are_forgotten() -> None:
    known, work = KnownImages((), max_bytes=4_000), Embedding()
    for content in range(10, 60):
        known.through(block([content]), work)
    out = known.through(block([10, 59]), work)
    assert reused(out) == [0, 1]
    assert known._bytes <= 4_000
    assert len(known._rows) == len(known._tables) < 50


def test_results_larger_than_all_room_are_not_kept() -> None:
    known, work = KnownImages((), max_bytes=10), Embedding()
    for _ in range(2):
        assert reused(known.through(block([1, 1]), work)) == [0, 1]
    assert (known._bytes, len(known._rows), len(known._tables)) == (0, 0, 0)


@pytest.mark.parametrize("max_bytes", [1 << 20, 20_000])
def test_threads_share_what_is_known(max_bytes: int) -> None:
    known, work = KnownImages((), max_bytes=max_bytes), Embedding()
    chance = np.random.default_rng(0)
    blocks = [block(chance.integers(0, 100, 20).tolist()) for _ in range(100)]
    with ThreadPoolExecutor(8) as threads:
        outs = list(threads.map(lambda each: known.through(each, work), blocks))
    for given, out in zip(blocks, outs, strict=True):
        assert plain(out).equals(plain_work(given))
    assert len(work.worked) + sum(sum(reused(out)) for out in outs) == 2000
    assert len(work.worked) < 1900
