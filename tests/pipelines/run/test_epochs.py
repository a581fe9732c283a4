"""Epochs, waves, retries and stops, with generators as executors and a ledger that is a set."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

import pipelines.run.epochs
from operators.base.errors import UserError
from pipelines.commits.receipts import Receipt
from pipelines.manifests.manifest import Shard
from pipelines.run.epochs import Execute, RowsLeftError, RunFailedError, RunInterruptedError, Standing, run_epochs
from pipelines.sources.work import ShardWork, shard_work
from pipelines.table.positions import pack_runs, position_keys

ROWS = 10


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.run.epochs, "MAX_BACKOFF_S", 0.01)


class Log:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.executions = self.receipts = self.ticks = 0
        self.notes: list[str] = []

    def new_execution(self) -> None:
        self.executions += 1

    def receipt(self, receipt: Receipt) -> None:
        self.receipts += 1

    def tick(self) -> None:
        self.ticks += 1

    def note(self, text: str) -> None:
        self.notes.append(text)


class Table:
    """Shards of ten rows, and which of them are published."""

    def __init__(self, num_shards: int) -> None:
        self.num_shards = num_shards
        self.waves: list[list[int]] = []
        self.log = Log()
        self.stop = threading.Event()

    @property
    def done(self) -> list[int]:
        return [shard for wave in self.waves for shard in wave]

    def remaining(self) -> Iterator[ShardWork]:
        for number in set(range(self.num_shards)) - set(self.done):
            shard = Shard(number=number, path="p", row_groups=range(1), first_row=number * ROWS, num_rows=ROWS)
            work = shard_work(shard, number, np.ones(ROWS, bool))
            assert work is not None
            yield work

    def publish(self, wave: list[Receipt]) -> None:
        self.waves.append([int(receipt.vector_keys[0]) >> 32 for receipt in wave])

    def run(
        self,
        execute: Callable[[Sequence[ShardWork]], Iterator[Receipt]],
        *,
        epoch_rows: int = 1000,
        interval_s: float = 1000.0,
        retries: int = 2,
        halted: Callable[[], bool] = lambda: False,
        abort: Callable[[], None] | None = None,
        last: Callable[[int], Execute] | None = None,
        halt: Callable[[], object] | None = None,
        standing: Callable[[], Standing] | None = None,
        no_progress_s: float = 1000.0,
        cut_short: Callable[[], str | None] = lambda: None,
    ) -> bool:
        return run_epochs(
            self.remaining,
            execute,
            self.publish,
            watcher=self.log,
            stop=self.stop,
            epoch_rows=epoch_rows,
            commit_interval_s=interval_s,
            retries=retries,
            halted=halted,
            abort=abort,
            last=last,
            halt=halt,  # type: ignore[arg-type]
            standing=standing,
            no_progress_s=no_progress_s,
            cut_short=cut_short,
        )


def receipt(work: ShardWork) -> Receipt:
    keys = position_keys(np.full(ROWS, work.shard_number), np.arange(ROWS))
    return Receipt(
        vector_fragments="[]",
        failure_fragments="[]",
        vector_runs=pack_runs(keys),
        failure_runs=b"",
        skipped_runs=b"",
    )


def well(work: Sequence[ShardWork]) -> Iterator[Receipt]:
    yield from map(receipt, work)


def test_all_rows_in_epochs_of_bounded_size() -> None:
    table = Table(7)
    assert table.run(well, epoch_rows=3 * ROWS)
    assert sorted(table.done) == list(range(7))
    assert [len(wave) for wave in table.waves] == [3, 3, 1]
    assert (table.log.executions, table.log.receipts, table.log.notes) == (3, 7, [])


def test_nothing_to_do_executes_nothing() -> None:
    table = Table(0)
    assert table.run(well)
    assert (table.log.executions, table.waves) == (0, [])


def test_a_halt_ends_with_what_the_execution_gave_and_starts_no_other() -> None:
    halted: list[bool] = []

    def two_of_them(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield from map(receipt, work[:2])
        halted.append(True)

    table = Table(5)
    assert not table.run(two_of_them, halted=lambda: bool(halted))
    assert (sorted(table.done), table.log.executions) == ([0, 1], 1)
    assert not table.run(well, halted=lambda: True)
    assert table.log.executions == 1


def test_a_halt_with_nothing_left_is_the_end() -> None:
    assert Table(0).run(well, halted=lambda: True)


def test_waves_go_out_at_intervals() -> None:
    def slow(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        for item in work:
            time.sleep(0.02)
            yield receipt(item)

    table = Table(10)
    assert table.run(slow, interval_s=0.05)
    assert 2 <= len(table.waves) <= 5
    assert sorted(table.done) == list(range(10))


def test_a_receipt_waits_no_longer_than_the_interval_for_the_next() -> None:
    published_while_waiting: list[int] = []

    def one_then_wait(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield receipt(work[0])
        time.sleep(0.6)
        published_while_waiting.extend(table.done)
        yield from map(receipt, work[1:])

    table = Table(2)
    assert table.run(one_then_wait, interval_s=0.1)
    assert published_while_waiting == [0]
    assert table.log.ticks >= 3


def test_a_stop_publishes_what_is_there_and_waits_for_no_more() -> None:
    waiting, released = threading.Event(), threading.Event()

    def two_then_wait(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield from map(receipt, work[:2])
        waiting.set()
        released.wait(30)
        yield from map(receipt, work[2:])

    table = Table(5)
    threading.Thread(target=lambda: waiting.wait(30) and table.stop.set()).start()
    started = time.monotonic()
    assert not table.run(two_then_wait)
    assert time.monotonic() - started < 25
    released.set()
    assert sorted(table.done) == [0, 1]


def test_a_stop_is_noticed_while_receipts_keep_coming() -> None:
    """A cluster of many writers sends one every few milliseconds; the executor must end too, and not embed on."""
    ended = threading.Event()

    def steady(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        try:
            for item in work:
                time.sleep(0.005)
                if item.shard_number == 20:
                    table.stop.set()
                yield receipt(item)
        finally:
            ended.set()

    table = Table(2000)
    assert not table.run(steady)
    assert 20 <= len(table.done) < 1000
    assert ended.wait(60)


def test_after_a_stop_nothing_is_left_of_an_execution_that_can_be_aborted() -> None:
    """Not even where it begins only after the first attempt to abort it."""
    aborted, began, ended = threading.Event(), threading.Event(), threading.Event()

    def abort() -> None:
        if began.is_set():
            aborted.set()

    def late(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        table.stop.set()
        time.sleep(0.5)
        began.set()
        aborted.wait(20)
        ended.set()
        yield receipt(work[0])

    table = Table(3)
    started = time.monotonic()
    assert not table.run(late, abort=abort)
    assert ended.is_set()
    assert time.monotonic() - started < 18


def test_a_stop_before_the_start_executes_nothing() -> None:
    table = Table(3)
    table.stop.set()
    assert not table.run(well)
    assert table.log.executions == 0


def test_a_failed_epoch_is_tried_again_on_what_is_not_committed() -> None:
    seen: list[list[int]] = []

    def fails_once(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        seen.append([item.shard_number for item in work])
        yield from map(receipt, work[:2])
        if len(seen) == 1:
            raise OSError("disk full\nand a traceback")
        yield from map(receipt, work[2:])

    table = Table(5)
    assert table.run(fails_once)
    assert seen == [[0, 1, 2, 3, 4], [2, 3, 4]]
    assert sorted(table.done) == list(range(5))
    assert table.log.notes == ["an epoch failed (OSError: disk full); attempt 2 of 3 follows"]


def test_a_run_that_keeps_failing_ends_with_the_innermost_reason() -> None:
    def fails(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        try:
            raise OSError("no such bucket")
        except OSError as error:
            raise RuntimeError("task failed, 40 lines of traceback") from error
        yield receipt(work[0])

    table = Table(1)
    with pytest.raises(RunFailedError, match="gave up after 3 attempts: OSError: no such bucket"):
        table.run(fails, retries=2)
    assert (table.log.executions, len(table.log.notes)) == (3, 2)


def test_attempts_are_counted_anew_after_an_epoch_that_ended_well() -> None:
    calls: list[int] = []

    def every_second_fails(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        calls.append(work[0].shard_number)
        if calls.count(calls[-1]) == 1:
            raise OSError("hiccup")
        yield from map(receipt, work)

    table = Table(4)
    assert table.run(every_second_fails, epoch_rows=ROWS, retries=1)
    assert calls == [0, 0, 1, 1, 2, 2, 3, 3]


def test_attempts_are_counted_anew_after_one_that_committed_something() -> None:
    def one_at_a_time(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield receipt(work[0])
        if len(work) > 1:
            raise OSError("hiccup")

    table = Table(5)
    assert table.run(one_at_a_time, retries=1)
    assert sorted(table.done) == list(range(5))


def test_what_a_user_must_mend_is_not_tried_again() -> None:
    def refused(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield receipt(work[0])
        raise UserError("weights differ on this node")

    table = Table(3)
    with pytest.raises(UserError, match="weights differ on this node"):
        table.run(refused)
    assert table.log.executions == 1
    assert table.done == [0], "what had arrived is published"


def test_an_execution_that_does_nothing_is_an_error_and_no_endless_loop() -> None:
    def idle(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield from ()

    table = Table(2)
    with pytest.raises(RunFailedError, match="ended well but left 20 rows undone"):
        table.run(idle)
    assert table.log.executions == 1


def test_what_is_left_undone_is_tried_with_what_is_next_and_then_by_itself() -> None:
    seen: list[list[int]] = []
    told: list[int] = []

    def all_but_the_slow(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        seen.append([item.shard_number for item in work])
        yield from (receipt(item) for item in work if item.shard_number not in (1, 3))

    def last(rows: int) -> Execute:
        told.append(rows)
        return well

    table = Table(6)
    assert table.run(all_but_the_slow, epoch_rows=2 * ROWS, last=last)
    assert seen == [[0, 1], [1, 2], [1, 3], [4, 5]]
    assert told == [2 * ROWS], "once nothing else was in an epoch"
    assert sorted(table.done) == list(range(6))


def test_rows_that_also_the_last_pass_leaves_undone_end_the_run() -> None:
    def nothing(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield from ()

    def one_of_them(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield from map(receipt, [item for item in work if item.shard_number != 2][:1])

    table = Table(3)
    with pytest.raises(RowsLeftError) as left:
        table.run(nothing, last=lambda rows: one_of_them)
    assert left.value.rows == ROWS
    assert (sorted(table.done), table.log.executions) == ([0, 1], 4), "as long as it gets on it goes on"


def test_a_backoff_ends_with_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.run.epochs, "FIRST_BACKOFF_S", 60.0)
    monkeypatch.setattr(pipelines.run.epochs, "MAX_BACKOFF_S", 60.0)

    def fails(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        raise OSError("down")
        yield receipt(work[0])

    table = Table(1)
    threading.Timer(0.3, table.stop.set).start()
    started = time.monotonic()
    assert not table.run(fails, retries=10)
    assert time.monotonic() - started < 30


def test_an_error_while_publishing_ends_the_run_and_its_executor() -> None:
    ended = threading.Event()

    def steady(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        try:
            for item in work:
                time.sleep(0.005)
                yield receipt(item)
        finally:
            ended.set()

    def fenced(wave: list[Receipt]) -> None:
        raise RuntimeError("a later run has taken over")

    table = Table(2000)
    table.publish = fenced  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="taken over"):
        table.run(steady, interval_s=0.01)
    assert ended.wait(60)


def test_after_a_stop_the_last_receipts_are_waited_for_where_the_execution_is_asked_for_them() -> None:
    asked = threading.Event()

    def writes_the_rest(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield receipt(work[0])
        table.stop.set()
        assert asked.wait(30)
        time.sleep(0.5)
        yield receipt(work[1])

    table = Table(5)
    assert not table.run(writes_the_rest, halt=asked.set)
    assert sorted(table.done) == [0, 1]


def test_after_a_stop_an_execution_that_gives_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.run.epochs, "LAST_WAVE_S", 0.5)
    released = threading.Event()

    def hangs(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield receipt(work[0])
        table.stop.set()
        released.wait(60)

    table = Table(5)
    started = time.monotonic()
    assert not table.run(hangs, halt=lambda: None)
    assert time.monotonic() - started < 30
    released.set()
    assert table.done == [0]


def test_where_nothing_moves_the_run_says_so_and_publishes_what_is_there() -> None:
    released, asked, moves = threading.Event(), threading.Event(), [0]

    def moves_and_hangs(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        yield receipt(work[0])
        for _ in range(8):
            time.sleep(0.1)
            moves[0] += 1
        hung.append(time.monotonic())
        assert asked.wait(60)
        yield receipt(work[1])
        released.wait(60)

    table, hung = Table(5), list[float]()
    standing = lambda: Standing(moves[0], "stage embed holds 3 blocks")  # noqa: E731
    with pytest.raises(RunInterruptedError, match=r"nothing has moved for 1 s.*: stage embed holds 3 blocks"):
        table.run(moves_and_hangs, halt=lambda: (asked.set(), released.set()), standing=standing, no_progress_s=0.6)
    assert sorted(table.done) == [0, 1]
    assert time.monotonic() - hung[0] >= 0.5
    assert table.log.executions == 1, "a stuck epoch is not tried again"


def test_an_execution_that_is_cut_short_is_followed_by_one_over_what_is_left_and_is_no_failure() -> None:
    asked, given = threading.Event(), list[int]()

    def hangs_twice(work: Sequence[ShardWork]) -> Iterator[Receipt]:
        given.append(len(work))
        asked.clear()
        yield receipt(work[0])
        if len(given) < 3:
            reasons.append("nodes were lost")
            assert asked.wait(60)
            # What comes after it was asked to end is published too, an error of its end is none of the run's.
            yield receipt(work[1])
            raise RuntimeError("aborted")
        yield from map(receipt, work[1:])

    table, reasons = Table(6), list[str]()
    cut_short = lambda: reasons.pop() if reasons else None  # noqa: E731
    assert table.run(hangs_twice, halt=asked.set, cut_short=cut_short, retries=0)
    assert given == [6, 4, 2]
    assert sorted(table.done) == list(range(6))
    assert table.log.notes == ["nodes were lost; what was in work and is not written is done again"] * 2
