"""Exactly once with regions: an image is there with all of its regions or not at all."""

import multiprocessing
import os
import signal

import lance
import numpy as np
import pytest

from made.regions import all_regions, num_regions, read_regions, region_batch, region_committer, region_sink
from made.tables import names_in, positions, read
from pipelines.ledger.ledger import read_positions
from pipelines.table.errors import CorruptTableError
from pipelines.table.fenced_operations import addresses, holds
from pipelines.table.positions import position_keys

spawn = multiprocessing.get_context("spawn")
BOTH = pytest.mark.parametrize("layout", ["rows", "multivector"])


@BOTH
def test_the_ledger_counts_images_and_the_next_run_takes_up_the_rest(tmp_path, layout):
    names = names_in(tmp_path)
    sink = region_sink(names, layout)
    region_committer(names, layout).commit([sink.write(region_batch(4, [0, 1, 2, 5, 6], failed=[6]))])
    ledger = region_committer(names, layout).ledger
    assert (ledger.vectors.count, ledger.failures.count) == (4, 1)
    assert np.flatnonzero(~ledger.done(4, 8)).tolist() == [3, 4, 7]
    assert ledger.audit([0] * 4 + [8] + [0] * 95).missing == 3


@BOTH
def test_a_receipt_again_or_in_part_changes_nothing(tmp_path, layout):
    names = names_in(tmp_path)
    committer, sink = region_committer(names, layout), region_sink(names, layout)
    receipt = sink.write(region_batch(0, range(6)))
    assert committer.commit([receipt, receipt]).repeated == 6
    assert committer.commit([sink.write(region_batch(0, range(4, 9)))]).rejected == 5
    assert region_committer(names, layout).commit([receipt]).repeated == 6
    assert read_regions(names, layout) == all_regions(0, range(6))


@BOTH
def test_a_position_that_stands_twice_is_corruption_with_regions_too(tmp_path, layout):
    names = names_in(tmp_path)
    region_committer(names, layout).commit([region_sink(names, layout).write(region_batch(0, range(5)))])
    lance.write_dataset(lance.dataset(names.vectors).to_table(filter="row > 2"), names.vectors, mode="append")
    with pytest.raises(CorruptTableError, match=r"more than once: \(shard, row\) \(0, 3\), \(0, 4\)\."):
        region_committer(names, layout)


def test_rows_of_one_position_are_found_all_together(tmp_path):
    names = names_in(tmp_path)
    committer, sink = region_committer(names, "rows"), region_sink(names, "rows")
    committer.commit([sink.write(region_batch(0, range(6))), sink.write(region_batch(1, range(6)))])
    dataset = lance.dataset(names.vectors)
    keys = position_keys(np.array([0, 1, 1]), np.array([3, 2, 5]))
    found = addresses(dataset, keys)
    assert sum(len(offsets) for offsets in found.values()) == num_regions(3) + num_regions(2) + num_regions(5)
    first, second = (fragment.fragment_id for fragment in dataset.get_fragments())
    assert holds(dataset, {first}, int(keys[1]))
    assert not holds(dataset, {second}, int(keys[1]))


def test_the_ledger_of_a_table_reads_no_vectors(tmp_path):
    """What Lance is asked for: positions, and of the region its index."""
    names = names_in(tmp_path)
    region_committer(names, "rows").commit([region_sink(names, "rows").write(region_batch(0, range(40)))])
    asked = []

    class Seen:
        def __init__(self, dataset):
            self.dataset, self.schema, self.uri = dataset, dataset.schema, dataset.uri

        def scanner(self, **arguments):
            asked.append(self.dataset.scanner(**arguments))
            return asked[-1]

    assert read_positions(Seen(lance.dataset(names.vectors)), 0, 1).count == 40
    assert asked[0].projected_schema.names == ["shard", "row", "region.index"]


@pytest.mark.parametrize("gone", [0, 1, 2], ids="without region {}".format)
def test_an_image_of_which_regions_were_deleted_is_there_and_is_named(tmp_path, gone):
    names = names_in(tmp_path)
    region_committer(names, "rows").commit([region_sink(names, "rows").write(region_batch(0, range(8)))])
    lance.dataset(names.vectors).delete(f"region.index = {gone} AND row >= 4")
    ledger = region_committer(names, "rows").ledger
    lacking = [row for row in range(4, 8) if num_regions(row) > gone + 1]
    # An image of one region is gone with it; the last region of one that has others cannot be missed.
    assert ledger.vectors.count == (7 if gone == 0 else 8)
    assert [int(key) & 0xFFFFFFFF for keys in ledger.incomplete.by_shard() for key in keys] == lacking


def test_a_region_number_that_no_image_has_any_more_is_missed_too(tmp_path):
    names = names_in(tmp_path)
    region_committer(names, "rows").commit([region_sink(names, "rows").write(region_batch(0, range(8)))])
    lance.dataset(names.vectors).delete("region.index = 1 OR region.index = 2")
    assert region_committer(names, "rows").ledger.incomplete.mask(0, 8).tolist() == [False, False, False, True] * 2


def test_a_region_that_stands_twice_is_corruption(tmp_path):
    names = names_in(tmp_path)
    region_committer(names, "rows").commit([region_sink(names, "rows").write(region_batch(0, range(5)))])
    again = lance.dataset(names.vectors).to_table(filter="row = 3 AND region.index = 2")
    lance.write_dataset(again, names.vectors, mode="append")
    with pytest.raises(CorruptTableError, match=r"more than once: \(shard, row\) \(0, 3\)\."):
        region_committer(names, "rows")


def test_an_image_embedded_again_takes_the_place_of_what_was_left_of_it(tmp_path):
    names = names_in(tmp_path)
    committer, sink = region_committer(names, "rows"), region_sink(names, "rows")
    committer.commit([sink.write(region_batch(0, range(6)))])
    lance.dataset(names.vectors).delete("row >= 2 AND region.index = 0")
    committer = region_committer(names, "rows")
    again, receipt = [2, 3, 5], sink.write(region_batch(0, [2, 3, 5, 6]))
    assert committer.commit([receipt]).rejected == 4, "unasked nothing gives way"
    committer.ledger.embed_incomplete_again()
    assert np.flatnonzero(~committer.ledger.done(0, 6)).tolist() == [2, 3, 4, 5]
    committer.commit([receipt, receipt])
    assert read_regions(names, "rows") == all_regions(0, [0, 1, *again, 6])
    assert region_committer(names, "rows").ledger.incomplete.count == 0


def test_an_answer_that_is_lost_puts_no_region_in_twice(tmp_path, monkeypatch):
    names = names_in(tmp_path)
    committer, sink = region_committer(names, "rows"), region_sink(names, "rows")
    committer.commit([sink.write(region_batch(0, range(4)))])
    lance.dataset(names.vectors).delete("row = 2 AND region.index = 0")
    committer = region_committer(names, "rows")
    committer.ledger.embed_incomplete_again()
    real, lost = lance.LanceDataset.commit, []

    def commit(target, *args, **kwargs):
        made = real(target, *args, **kwargs)
        if not lost and target.uri.endswith("photos.lance"):
            lost.append(made)
            raise OSError("connection reset before the answer came")
        return made

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(commit))
    committer.commit([sink.write(region_batch(0, [2, 4, 5]))])
    assert lost
    assert read_regions(names, "rows") == all_regions(0, range(6))


@BOTH
def test_failures_tried_again_move_with_all_their_regions(tmp_path, layout):
    names = names_in(tmp_path)
    committer, sink = region_committer(names, layout), region_sink(names, layout)
    committer.commit([sink.write(region_batch(0, range(8), failed=[2, 3, 4]))])
    published = committer.move([sink.write(region_batch(0, [2, 3, 4], failed=[4]))])
    assert (published.vectors, published.failures) == (2, 1)
    assert read_regions(names, layout) == all_regions(0, [0, 1, 2, 3, 5, 6, 7])
    assert read(names.failures) == positions(0, [4])
    ledger = region_committer(names, layout).ledger
    assert (ledger.vectors.count, ledger.failures.count) == (7, 1)


@BOTH
def test_a_move_cut_off_in_the_middle_is_finished_with_regions_too(tmp_path, monkeypatch, layout):
    names = names_in(tmp_path)
    committer, sink = region_committer(names, layout), region_sink(names, layout)
    committer.commit([sink.write(region_batch(0, range(6), failed=[2, 3]))])
    real = lance.LanceDataset.commit

    def cut(target, *args, **kwargs):
        if target.uri.endswith("__failures.lance"):
            raise KeyboardInterrupt
        return real(target, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "commit", staticmethod(cut))
        with pytest.raises(KeyboardInterrupt):
            committer.move([sink.write(region_batch(0, [2, 3], failed=[3]))])
    ledger = region_committer(names, layout).ledger
    assert (ledger.vectors.count, ledger.failures.count) == (5, 1)
    assert read_regions(names, layout) == all_regions(0, [0, 1, 2, 4, 5])


def test_ids_are_read_once_an_image(tmp_path):
    names = names_in(tmp_path)
    committer = region_committer(names, "rows")
    committer.commit([region_sink(names, "rows").write(region_batch(shard, range(5))) for shard in range(3)])
    ids = [name for found in committer.read_ids("shard = 0 OR shard = 2") for name in found.to_pylist()]
    assert sorted(ids) == sorted(f"id-{shard}-{row}" for shard in (0, 2) for row in range(5))


def _kill_before_vectors(folder: str) -> None:
    names = names_in(folder)
    committer, sink = region_committer(names, "rows"), region_sink(names, "rows")
    committer.commit([sink.write(region_batch(0, range(5)))])
    receipts = [sink.write(region_batch(0, range(5, 12), failed=[6])), sink.write(region_batch(1, range(6)))]
    real = lance.LanceDataset.commit

    def commit(target, *args, **kwargs):
        if target.uri.endswith("photos.lance"):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(target, *args, **kwargs)

    lance.LanceDataset.commit = staticmethod(commit)
    committer.commit(receipts)


@pytest.mark.kill
def test_killed_between_the_two_commits_no_image_is_there_in_part(tmp_path):
    names = names_in(tmp_path)
    process = spawn.Process(target=_kill_before_vectors, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert read_regions(names, "rows") == all_regions(0, range(5))
    committer = region_committer(names, "rows")
    todo = np.flatnonzero(~committer.ledger.done(0, 12))
    assert todo.tolist() == [5, 7, 8, 9, 10, 11]
    sink = region_sink(names, "rows")
    committer.commit([sink.write(region_batch(0, todo)), sink.write(region_batch(1, range(6)))])
    assert read_regions(names, "rows") == all_regions(0, [*range(6), *range(7, 12)]) + all_regions(1, range(6))
    assert read(names.failures) == positions(0, [6])


def test_an_image_split_over_files_is_still_one_receipt(tmp_path, monkeypatch):
    """Lance starts a new file after a number of rows, in the middle of an image if need be."""
    import pipelines.commits.sink

    real = pipelines.commits.sink.write_fragments
    monkeypatch.setattr(pipelines.commits.sink, "write_fragments", lambda *a, **k: real(*a, **k, max_rows_per_file=7))
    names = names_in(tmp_path)
    committer = region_committer(names, "rows")
    receipt = region_sink(names, "rows").write(region_batch(0, range(12)))
    committer.commit([receipt, receipt])
    assert len(lance.dataset(names.vectors).get_fragments()) == 5
    assert read_regions(names, "rows") == all_regions(0, range(12))
    assert committer.commit([receipt]).repeated == 12
    assert region_committer(names, "rows").ledger.vectors.count == 12
