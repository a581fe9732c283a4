"""The promise of exactly once, attacked: every test reads the tables back with plain lance code."""

import contextlib
import json
import multiprocessing
import os
import signal
import threading

import lance
import numpy as np
import pyarrow as pa
import pytest
from lance.commit import CommitConflictError

from made.tables import (
    DIM,
    KEPT,
    SCHEMA,
    SPACE,
    VECTOR,
    batch,
    lance_s3,
    names_in,
    open_committer,
    positions,
    read,
    sink_of,
    vector_of,
)
from operators.models.canaries import CanaryError, record_canaries
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.storage.stores import StorageOptions
from pipelines.commits.committer import Committer
from pipelines.commits.sink import vectors_schema
from pipelines.space.field import SpaceError, with_space
from pipelines.table.errors import ClaimLostError, CommitFailedError, FencedError, RefusedError
from pipelines.table.names import TableNames
from servers.cutting_proxy import CuttingProxy

spawn = multiprocessing.get_context("spawn")
"""Lance keeps threads of its own and does not survive a fork."""


@pytest.fixture
def names(tmp_path):
    return names_in(tmp_path)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request, tmp_path):
    """(names, storage, Lance's options) on local disk and on a real S3 server."""
    if request.param == "local":
        return names_in(tmp_path), StorageOptions(), None
    server = request.getfixturevalue("s3")
    names = TableNames.from_table(f"s3://{server.bucket('lake')}/lake/photos")
    return names, StorageOptions(**server.storage_options), lance_s3(server.storage_options)


def test_creation_marks_both_tables_and_keeps_the_space(names):
    committer = open_committer(names)
    assert committer.created
    assert committer.term == 1
    for uri in (names.vectors, names.failures):
        dataset = lance.dataset(uri)
        assert dataset.metadata["pixlake.format"] == "1"
        assert not dataset.schema.metadata, "LanceDB's data API for PyTorch fails on a schema that has metadata"
        assert (dataset.count_rows(), dataset.data_storage_version, dataset.has_stable_row_ids) == (0, "2.2", False)
    again = open_committer(names)
    assert not again.created
    assert again.term == 2
    again.commit([sink_of(names).write(batch(0, range(3)))])
    assert lance.dataset(names.vectors).schema.field("vector").metadata == SPACE


def test_a_stale_holder_publishes_nothing_in_an_empty_table(place):
    names, storage, options = place
    old = open_committer(names, "old", storage=storage)
    receipt = sink_of(names, storage).write(batch(0, range(4), failed=[3]))
    open_committer(names, "new", storage=storage)
    with pytest.raises(FencedError, match="run new took the table over"):
        old.commit([receipt])
    with pytest.raises(FencedError):
        old.set_metadata({"pixlake.x": "1"})
    assert read(names.vectors, options).total() == read(names.failures, options).total() == 0
    assert "pixlake.x" not in lance.dataset(names.vectors, storage_options=options).metadata


def test_a_stale_holder_publishes_nothing_in_a_filled_table(place):
    names, storage, options = place
    old = open_committer(names, "old", storage=storage)
    old.commit([sink_of(names, storage).write(batch(0, range(4), failed=[3]))])
    receipt = sink_of(names, storage).write(batch(1, range(4), failed=[3]))
    new = open_committer(names, "new", storage=storage)
    with pytest.raises(FencedError, match="run new took the table over"):
        old.commit([receipt])
    with pytest.raises(FencedError):
        old.set_metadata({"pixlake.x": "1"})
    new.commit([receipt])
    assert read(names.vectors, options) == positions(0, range(3)) + positions(1, range(3))
    assert read(names.failures, options) == positions(0, [3]) + positions(1, [3])
    assert "pixlake.x" not in lance.dataset(names.vectors, storage_options=options).metadata


def test_a_commit_under_way_when_the_table_is_claimed_does_not_land_after_the_barrier(names, monkeypatch):
    """The old holder has checked its term and built its transaction; the claim comes before Lance gets it."""
    old = open_committer(names, "old")
    old.commit([sink_of(names).write(batch(0, range(4)))])
    receipt = sink_of(names).write(batch(1, range(4)))
    real, claimed = lance.LanceDataset.commit, []

    def claim_first(*args, **kwargs):
        if not claimed:
            claimed.append(True)
            claimed.append(open_committer(names, "new"))
        return real(*args, **kwargs)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(claim_first))
    with pytest.raises(FencedError):
        old.commit([receipt])
    claimed[1].commit([receipt])
    assert read(names.vectors) == positions(0, range(4)) + positions(1, range(4))


def test_an_empty_table_lets_no_commit_under_way_through(names, monkeypatch):
    old = open_committer(names, "old")
    receipt = sink_of(names).write(batch(1, range(4)))
    real, claimed = lance.LanceDataset.commit, []

    def claim_first(*args, **kwargs):
        if not claimed:
            claimed.append(True)
            claimed.append(open_committer(names, "new"))
        return real(*args, **kwargs)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(claim_first))
    with pytest.raises(FencedError):
        old.commit([receipt])
    assert read(names.vectors).total() == 0


def test_rows_that_land_between_claim_and_barrier_are_in_the_new_ledger(names, monkeypatch):
    old = open_committer(names, "old")
    old.commit([sink_of(names).write(batch(0, range(4)))])
    receipt = sink_of(names).write(batch(1, range(4)))
    real, calls = lance.LanceDataset.commit, []

    def commit_late(*args, **kwargs):
        calls.append(args[1].operation)
        if len(calls) == 2:
            assert type(calls[1]).__name__ == "Update", "the barrier follows the claim"
            real(old_dataset, old_transaction(old_dataset))
        return real(*args, **kwargs)

    def old_transaction(dataset):
        fence = dataset.get_fragments()[0].metadata
        new = [lance.FragmentMetadata.from_json(json.dumps(f)) for f in json.loads(receipt.vector_fragments)]
        operation = lance.LanceOperation.Update(
            updated_fragments=[fence], new_fragments=new, update_mode="rewrite_rows"
        )
        return lance.Transaction(dataset.version, operation)

    old_dataset = lance.dataset(names.vectors)
    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(commit_late))
    new = open_committer(names, "new")
    assert new.ledger.vectors.count == 8
    assert new.commit([receipt]).repeated == 4
    assert read(names.vectors) == positions(0, range(4)) + positions(1, range(4))


def test_the_same_receipt_again_changes_nothing(names):
    committer = open_committer(names)
    receipt = sink_of(names).write(batch(0, range(10), failed=[1]))
    committer.commit([receipt, receipt])
    published = committer.commit([receipt])
    assert (published.vectors, published.failures, published.repeated, published.rejected) == (0, 0, 10, 0)
    reopened = open_committer(names)
    assert reopened.commit([receipt]).repeated == 10
    assert read(names.vectors) == positions(0, [0, *range(2, 10)])
    assert read(names.failures) == positions(0, [1])


def test_a_receipt_that_overlaps_in_part_is_left_for_the_next_pass(names):
    committer = open_committer(names)
    sink = sink_of(names)
    committer.commit([sink.write(batch(0, range(5)))])
    published = committer.commit([sink.write(batch(0, range(3, 9))), sink.write(batch(1, range(4)))])
    assert (published.vectors, published.rejected) == (4, 6)
    assert np.array_equal(np.flatnonzero(~committer.ledger.done(0, 9)), [5, 6, 7, 8])
    committer.commit([sink.write(batch(0, range(5, 9)))])
    assert read(names.vectors) == positions(0, range(9)) + positions(1, range(4))


def test_receipts_of_other_shards_are_refused(names):
    committer = open_committer(names)
    committer.load_ledger(5, 2)
    with pytest.raises(RefusedError, match="the ledger was read for 5 to 6"):
        committer.commit([sink_of(names).write(batch(7, range(3)))])


def _kill_before_vectors(folder: str) -> None:
    names = names_in(folder)
    committer = open_committer(names)
    receipt = sink_of(names).write(batch(0, range(10), failed=[2, 3]))
    real = lance.LanceDataset.commit

    def commit(target, *args, **kwargs):
        if target.uri.endswith("photos.lance"):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(target, *args, **kwargs)

    lance.LanceDataset.commit = staticmethod(commit)
    committer.commit([receipt])


@pytest.mark.kill
def test_killed_between_the_two_commits_and_opened_again(names, tmp_path):
    process = spawn.Process(target=_kill_before_vectors, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert read(names.failures) == positions(0, [2, 3])
    committer = open_committer(names)
    todo = np.flatnonzero(~committer.ledger.done(0, 10))
    assert todo.tolist() == [0, 1, 4, 5, 6, 7, 8, 9]
    committer.commit([sink_of(names).write(batch(0, todo))])
    assert read(names.vectors) == positions(0, todo)
    assert read(names.failures) == positions(0, [2, 3])


def _race(place, start, outcomes, run_id: str) -> None:
    names, storage = place
    start.wait()
    try:
        committer = Committer.open(names, SCHEMA, run_id=run_id, storage=storage)
        committer.load_ledger(0, 6)
        created = committer.created
        for shard in range(6):
            todo = np.flatnonzero(~committer.ledger.done(shard, 20))
            if len(todo):
                committer.commit([sink_of(names, storage).write(batch(shard, todo, failed=[0, 1]))])
        outcomes.put((created, "finished"))
    except (FencedError, ClaimLostError) as error:
        outcomes.put((False, type(error).__name__))


@pytest.mark.kill
def test_racing_processes_make_one_table_and_write_every_row_once(place):
    names, storage, options = place
    start, outcomes = spawn.Barrier(4), spawn.Queue()
    racers = [spawn.Process(target=_race, args=((names, storage), start, outcomes, f"run-{i}")) for i in range(4)]
    for racer in racers:
        racer.start()
    results = [outcomes.get(timeout=300) for _ in racers]
    for racer in racers:
        racer.join()
    assert sum(created for created, _ in results) <= 1
    last = open_committer(names, "last", storage=storage)
    for shard in range(6):
        todo = np.flatnonzero(~last.ledger.done(shard, 20))
        if len(todo):
            last.commit([sink_of(names, storage).write(batch(shard, todo, failed=[0, 1]))])
    vectors, failures = read(names.vectors, options), read(names.failures, options)
    assert vectors == sum((positions(s, range(2, 20)) for s in range(6)), start=positions(0, []))
    assert failures == sum((positions(s, range(2)) for s in range(6)), start=positions(0, []))


def test_a_table_of_another_space_made_since_the_plan_is_not_written_to(names):
    open_committer(names)
    model = describe(parse_model_name("null"))
    other = with_space(VECTOR.remove_metadata(), {"embed": {"family": "null", "dim": DIM, "pooling": "avg"}}, model)
    before = lance.dataset(names.vectors).version
    with pytest.raises(SpaceError, match=r"embed\.pooling"):
        Committer.open(names, vectors_schema([other], KEPT), run_id="late")
    assert lance.dataset(names.vectors).version == before


@pytest.mark.parametrize(("rolled", "refused"), [(0, False), (1, True)])
def test_canaries_of_a_table_made_since_the_plan_are_compared(names, rolled, refused):
    model, record = describe(parse_model_name("null")), {"embed": {"family": "null", "dim": DIM}}
    vectors = np.random.default_rng(0).normal(size=(16, DIM)).astype(np.float32)

    def schema(values):
        canaries = record_canaries(values, name="m", precision="float32", device="cpu")
        return vectors_schema([with_space(VECTOR.remove_metadata(), record, model, canaries)], KEPT)

    Committer.open(names, schema(vectors), run_id="first")
    with pytest.raises(CanaryError) if refused else contextlib.nullcontext():
        Committer.open(names, schema(np.roll(vectors, rolled, axis=1)), run_id="late")


def test_racing_creators_are_told_who_made_the_table(names):
    """Threads, so that all of them are past the look at the missing table when the first one makes it."""
    from pipelines.table.fenced_table import FencedTable

    start, made = threading.Barrier(8), []

    def create() -> None:
        start.wait()
        made.append(FencedTable.create_or_open(names.vectors, SCHEMA, StorageOptions())[1])

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]


def _compact(uri: str) -> int:
    """Fragments that compaction replaced; 0 where a commit came first."""
    try:
        return lance.dataset(uri).optimize.compact_files().fragments_removed
    except OSError as error:
        if "Retryable commit conflict" not in str(error):
            raise
        return 0


def test_compaction_beside_the_commits_loses_and_repeats_nothing(names):
    committer = open_committer(names)
    sink, stop, compacted = sink_of(names), threading.Event(), [0]

    def compact() -> None:
        while not stop.is_set():
            compacted.append(_compact(names.vectors))

    thread = threading.Thread(target=compact)
    thread.start()
    shard = 0
    while shard < 10 or (shard < 90 and not sum(compacted)):
        committer.commit([sink.write(batch(shard, range(12), failed=[0]))])
        shard += 1
    stop.set()
    thread.join()
    assert read(names.vectors) == sum((positions(s, range(1, 12)) for s in range(shard)), start=positions(0, []))


@pytest.mark.parametrize("change", ["compaction", "delete", "index"])
def test_a_change_between_our_read_and_our_commit_is_taken_over(names, monkeypatch, change):
    committer = open_committer(names)
    sink = sink_of(names)
    for shard in range(3):
        committer.commit([sink.write(batch(shard, range(12)))])
    receipt = sink.write(batch(3, range(12)))
    real, changed = lance.LanceDataset.commit, []

    def change_first(*args, **kwargs):
        if not changed:
            changed.append(True)
            dataset = lance.dataset(names.vectors)
            if change == "compaction":
                assert _compact(names.vectors) == 3
            elif change == "delete":
                dataset.delete("shard = 0 AND row = 5")
            else:
                dataset.create_scalar_index("id", "BTREE")
        return real(*args, **kwargs)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(change_first))
    assert committer.commit([receipt]).vectors == 12
    gone = positions(0, [5]) if change == "delete" else positions(0, [])
    assert read(names.vectors) == sum((positions(s, range(12)) for s in range(4)), start=positions(0, [])) - gone
    found = lance.dataset(names.vectors).to_table(filter="id = 'id-3-11'", columns=["shard", "row"])
    assert found.to_pylist() == [{"shard": 3, "row": 11}]


def test_an_index_built_before_later_commits_finds_their_rows(names):
    committer = open_committer(names)
    sink = sink_of(names)
    committer.commit([sink.write(batch(0, range(300)))])
    dataset = lance.dataset(names.vectors)
    dataset.create_index("vector", "IVF_FLAT", metric="cosine", num_partitions=4)
    dataset.create_scalar_index("id", "BTREE")
    dataset.create_scalar_index("meta.a", "BTREE")
    for shard in (1, 2):
        committer.commit([sink.write(batch(shard, range(60)))])
    dataset = lance.dataset(names.vectors)
    for index in ("vector_idx", "id_idx", "meta.a_idx"):
        assert dataset.stats.index_stats(index)["num_unindexed_rows"] == 120
    for shard, row in ((0, 7), (1, 3), (2, 59)):
        query = vector_of(shard, row).astype("f4")
        near = {"column": "vector", "q": query, "k": 5, "metric": "cosine"}
        exact = dataset.to_table(nearest={**near, "use_index": False}, columns=["shard", "row"])
        found = dataset.to_table(nearest={**near, "nprobes": 4}, columns=["shard", "row"])
        assert (found["shard"][0].as_py(), found["row"][0].as_py()) == (shard, row)
        assert found.select(["shard", "row"]) == exact.select(["shard", "row"])
        assert dataset.to_table(filter=f"id = 'id-{shard}-{row}'").num_rows == 1
        assert dataset.to_table(filter=f"meta.a = {row}", columns=["row"]).num_rows == (3 if row < 60 else 1)


@pytest.mark.parametrize("filled", [False, True])
def test_an_answer_lost_after_the_commit_landed_is_not_a_second_commit(names, monkeypatch, filled):
    committer = open_committer(names)
    if filled:
        committer.commit([sink_of(names).write(batch(9, range(5), failed=[0]))])
    receipt = sink_of(names).write(batch(0, range(10), failed=[1]))
    real, lost = lance.LanceDataset.commit, []

    def answer_lost(*args, **kwargs):
        done = real(*args, **kwargs)
        if len(lost) < 2:
            lost.append(done)
            raise OSError("connection reset by peer")
        return done

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(answer_lost))
    published = committer.commit([receipt])
    assert len(lost) == 2
    assert (published.vectors, published.failures) == (9, 1)
    before = positions(9, range(1, 5)) if filled else positions(9, [])
    assert read(names.vectors) == before + positions(0, [0, *range(2, 10)])
    assert read(names.failures).total() == (2 if filled else 1)


def test_a_store_that_stays_away_is_an_error_and_the_wave_can_be_committed_later(names, monkeypatch):
    committer = open_committer(names)
    receipt = sink_of(names).write(batch(0, range(10)))
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.table.publish.LONGEST_PAUSE_S", 0.0)

        def away(*args, **kwargs):
            raise OSError("no route to host")

        patch.setattr(lance.LanceDataset, "commit", staticmethod(away))
        with pytest.raises(CommitFailedError, match="no route to host"):
            committer.commit([receipt])
    assert committer.commit([receipt]).vectors == 10
    assert read(names.vectors) == positions(0, range(10))


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_wave_interrupted_right_after_it_landed_can_be_committed_again(names, monkeypatch, filled, error):
    """As Ctrl-C does it: the commit is through, the ledger does not know; the handler publishes what is finished."""
    committer = open_committer(names)
    sink = sink_of(names)
    if filled:
        committer.commit([sink.write(batch(9, range(5), failed=[0]))])
    receipt = sink.write(batch(0, range(10), failed=[1], skipped=[2]))
    committer.commit([sink.write(batch(1, [0], skipped=[0]))])
    real = lance.LanceDataset.commit

    def interrupted(target, *args, **kwargs):
        done = real(target, *args, **kwargs)
        if target.uri.endswith("photos.lance"):
            raise error("now")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "commit", staticmethod(interrupted))
        with pytest.raises(error):
            committer.commit([receipt])
    assert committer.commit([receipt, sink.write(batch(2, range(3)))]).vectors == 3
    before = positions(9, range(1, 5)) if filled else positions(9, [])
    assert read(names.vectors) == before + positions(0, [0, *range(3, 10)]) + positions(2, range(3))
    assert committer.ledger.audit([10, 1, 3] + [0] * 6 + [5] + [0] * 90).missing == (0 if filled else 5)


@pytest.mark.parametrize("filled", [False, True])
def test_a_commit_that_arrives_at_the_store_late_does_not_land(names, monkeypatch, filled):
    """Its request is still on the way when the next wave goes out."""
    committer = open_committer(names)
    sink = sink_of(names)
    if filled:
        committer.commit([sink.write(batch(9, range(5)))])
    first, second = sink.write(batch(0, range(10))), sink.write(batch(1, range(10)))
    real, held, fired = lance.LanceDataset.commit, [], []

    def late(target, transaction, **kwargs):
        if not held:
            held.append((target, transaction, kwargs))
            raise ValueError("interrupted")
        operation = transaction.operation
        carried = getattr(operation, "new_fragments", None) or getattr(operation, "fragments", None)
        if carried and not fired:
            fired.append(True)
            with contextlib.suppress(CommitConflictError):
                real(held[0][0], held[0][1], **held[0][2])
        return real(target, transaction, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "commit", staticmethod(late))
        with pytest.raises(ValueError, match="interrupted"):
            committer.commit([first])
        committer.commit([second])
    assert fired
    committer.commit([first])
    before = positions(9, range(5)) if filled else positions(9, [])
    assert read(names.vectors) == before + positions(0, range(10)) + positions(1, range(10))


def test_the_last_attempt_may_have_landed_when_a_commit_is_given_up(names, monkeypatch):
    committer = open_committer(names)
    receipt = sink_of(names).write(batch(0, range(10)))
    real, calls = lance.LanceDataset.commit, []
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.table.publish.LONGEST_PAUSE_S", 0.0)

        def lands_on_the_last(*args, **kwargs):
            calls.append(True)
            if len(calls) == 10:
                real(*args, **kwargs)
            raise OSError("no route to host")

        patch.setattr(lance.LanceDataset, "commit", staticmethod(lands_on_the_last))
        with pytest.raises(CommitFailedError):
            committer.commit([receipt])
    assert committer.commit([receipt]).repeated == 10
    assert read(names.vectors) == positions(0, range(10))


def test_of_two_claims_at_once_one_is_told_that_it_lost(names, monkeypatch):
    open_committer(names)
    real, others = lance.LanceDataset.commit, []

    def other_first(*args, **kwargs):
        if not others:
            others.append(None)
            others.append(open_committer(names, "other"))
        return real(*args, **kwargs)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(other_first))
    with pytest.raises(ClaimLostError, match="run other claimed the table"):
        open_committer(names, "loser")
    others[1].commit([sink_of(names).write(batch(0, range(3)))])
    assert read(names.vectors) == positions(0, range(3))


def test_failures_tried_again_move_or_are_replaced(place):
    names, storage, options = place
    committer = open_committer(names, storage=storage)
    sink = sink_of(names, storage)
    committer.commit([sink.write(batch(0, range(10), failed=[2, 3, 4])), sink.write(batch(1, range(3), failed=[0]))])
    published = committer.move([sink.write(batch(0, [2, 3, 4], failed=[4]))])
    assert (published.vectors, published.failures, published.rejected) == (2, 1, 0)
    assert read(names.vectors, options) == positions(0, [0, 1, 2, 3, 5, 6, 7, 8, 9]) + positions(1, [1, 2])
    assert read(names.failures, options) == positions(0, [4]) + positions(1, [0])
    committer.move([sink.write(batch(0, [4])), sink.write(batch(1, [0]))])
    assert read(names.failures, options).total() == 0
    again = open_committer(names, storage=storage)
    assert (again.ledger.vectors.count, again.ledger.failures.count) == (13, 0)
    again.commit([sink.write(batch(2, range(2), failed=[1]))])
    assert read(names.failures, options) == positions(2, [1])


def test_committed_rows_are_read_for_the_next_run(names):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(s, range(5), failed=[s])) for s in range(3)])
    committer.load_ledger(1, 2)
    assert committer.open_failures().count == committer.open_failures("not_found").count == 2
    assert committer.open_failures("o'clock").count == 0
    assert np.flatnonzero(committer.open_failures("not_found").mask(2, 5)).tolist() == [2]
    ids = [each for found in committer.read_ids("shard < 1 OR shard >= 2") for each in found.to_pylist()]
    assert ids == [f"id-{s}-{r}" for s in (0, 2) for r in range(5) if r != s]


def test_a_stale_holder_cannot_move_what_another_has_emptied(names):
    old = open_committer(names, "old")
    sink = sink_of(names)
    old.commit([sink.write(batch(0, range(4), failed=[3]))])
    new = open_committer(names, "new")
    retried = sink.write(batch(0, [3]))
    new.move([retried])
    with pytest.raises(FencedError):
        old.commit([sink.write(batch(1, range(4), failed=[3]))])
    assert read(names.failures).total() == 0
    assert read(names.vectors) == positions(0, range(4))


def test_a_move_takes_only_what_stands_in_the_failures(names):
    committer = open_committer(names)
    sink = sink_of(names)
    committer.commit([sink.write(batch(0, range(6), failed=[2, 3]))])
    retried = sink.write(batch(0, [2, 3]))
    assert committer.move([retried, retried]).repeated == 2
    assert committer.move([retried]).repeated == 2
    assert committer.move([sink.write(batch(0, [3, 7]))]).rejected == 2
    assert read(names.vectors) == positions(0, range(6))


def test_a_move_cut_off_in_the_middle_is_finished_by_the_next_run(names, monkeypatch):
    committer = open_committer(names)
    sink = sink_of(names)
    committer.commit([sink.write(batch(0, range(6), failed=[2, 3]))])
    real = lance.LanceDataset.commit

    def cut(target, *args, **kwargs):
        if target.uri.endswith("__failures.lance"):
            raise KeyboardInterrupt
        return real(target, *args, **kwargs)

    retried = sink.write(batch(0, [2, 3], failed=[3]))
    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "commit", staticmethod(cut))
        with pytest.raises(KeyboardInterrupt):
            committer.move([retried])
    assert read(names.failures) == positions(0, [2, 3])
    ledger = open_committer(names).ledger
    assert (ledger.vectors.count, ledger.failures.count) == (5, 1)
    assert read(names.failures) == positions(0, [3])


def test_a_column_added_by_a_user_stays_and_reads_as_null_in_later_rows(names):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(3)))])
    staged = sink_of(names).write(batch(1, range(3)))
    lance.dataset(names.vectors).add_columns(pa.schema([pa.field("stars", pa.int32())]))
    committer.commit([staged, sink_of(names).write(batch(2, range(3)))])
    table = lance.dataset(names.vectors).to_table()
    assert table.num_rows == table["stars"].null_count == 9
    open_committer(names).commit([sink_of(names).write(batch(3, range(3)))])


def test_tables_of_others_and_other_schemas_are_refused(names):
    lance.write_dataset(pa.table({"a": [1]}), names.vectors)
    with pytest.raises(RefusedError, match="not made by Pixlake"):
        open_committer(names)
    assert lance.dataset(names.vectors).version == 1
    other = TableNames(database=names.database, name="other")
    open_committer(other)
    wider = SCHEMA.set(SCHEMA.get_field_index("vector"), pa.field("vector", pa.list_(pa.float16(), DIM * 2)))
    with pytest.raises(RefusedError, match=r"vector: fixed_size_list.*\[8\] in the table, .*\[16\] in this run"):
        Committer.open(other, wider, run_id="r")


@pytest.mark.s3
def test_a_place_that_cannot_be_written_is_said_at_once_without_secrets(s3):
    names = TableNames.from_table(f"s3://{s3.bucket('lake')}/lake/photos")
    storage = StorageOptions(**{**s3.storage_options, "secret": "wrong-secret-value"})
    with pytest.raises(
        RefusedError, match=r"/lake: cannot write there: .*SignatureDoesNotMatch.*; check bucket"
    ) as caught:
        open_committer(names, storage=storage)
    assert "wrong-secret-value" not in str(caught.value)


@pytest.mark.s3
def test_a_store_without_conditional_writes_is_refused(s3):
    """A proxy in front of the real server says 200 where the server says 412, as old stores do."""
    bucket = s3.bucket("lake")
    names = TableNames.from_table(f"s3://{bucket}/lake/photos")
    with CuttingProxy(s3.endpoint_url) as proxy:
        proxy.hide_conflicts = True
        storage = StorageOptions(**{**s3.storage_options, "endpoint_url": proxy.url})
        with pytest.raises(RefusedError, match="ignores If-None-Match"):
            open_committer(names, storage=storage)


@pytest.mark.s3
def test_a_manifest_written_whose_answer_is_cut_is_one_commit(s3):
    names = TableNames.from_table(f"s3://{s3.bucket('lake')}/lake/photos")
    with CuttingProxy(s3.endpoint_url) as proxy:
        storage = StorageOptions(**{**s3.storage_options, "endpoint_url": proxy.url})
        committer = open_committer(names, storage=storage)
        sink = sink_of(names, storage)
        for shard in range(3):
            receipt = sink.write(batch(shard, range(5), failed=[4]))
            proxy.cut_manifest_answers(2)
            committer.commit([receipt])
        assert proxy.cuts == 6
    options = lance_s3(s3.storage_options)
    assert read(names.vectors, options) == sum((positions(s, range(4)) for s in range(3)), start=positions(0, []))
    assert read(names.failures, options) == positions(0, [4]) + positions(1, [4]) + positions(2, [4])
