"""The run: epochs of an executor, waves of commits, retries, and a clean stop. Knows no Ray and no configuration."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from operators.base.errors import UserError
from operators.base.failpoints import failpoint
from operators.storage.no_space import is_no_space
from operators.storage.redact import reason_of
from pipelines.commits.receipts import Receipt
from pipelines.sources.work import ShardWork, epochs, nothing_new

Execute = Callable[[Sequence[ShardWork]], Iterator[Receipt]]
"""One bounded execution (epoch): gives the receipts of the given shards as they are written."""

MOST_BLOCKS = 100_000
"""Blocks of one execution: Ray Data's driver keeps a record of each to the end (ray-project/ray#66016)."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 2.0, 60.0
LAST_WAVE_S = 12.0
"""Seconds after a stop in which what is embedded is still written: of the 30 s that a preempted machine gives, the rest
is for the last commit, the report and the end of Ray."""
ABORT_S = 30.0
"""Seconds that an aborted execution is waited for."""


class Watcher(Protocol):
    """Is told what happens, from the run's own thread."""

    def new_execution(self) -> None: ...
    def receipt(self, receipt: Receipt) -> None: ...
    def tick(self) -> None: ...
    def note(self, text: str) -> None: ...


class RunFailedError(RuntimeError):
    """The run ended before every row was done; what is committed stays, and the same command goes on from there."""


class RowsLeftError(RunFailedError):
    """Executions end well, and leave these rows undone again and again."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"an execution ended well but left {rows} rows undone")
        self.rows = rows


class RunInterruptedError(RunFailedError):
    """The run has ended itself, since going on would not help; later the same command may."""


@dataclass(frozen=True)
class Standing:
    """Where an execution stands."""

    moves: object
    """Equal to that of before where nothing has moved since."""
    text: str
    """Which stage holds what, for a person."""


def run_epochs(
    remaining: Callable[[], Iterator[ShardWork]],
    execute: Execute,
    publish: Callable[[list[Receipt]], None],
    *,
    watcher: Watcher,
    stop: threading.Event,
    epoch_rows: int,
    commit_interval_s: float,
    retries: int,
    halted: Callable[[], bool] = lambda: False,
    halt: Callable[[], None] | None = None,
    abort: Callable[[], None] | None = None,
    last: Callable[[int], Execute] | None = None,
    standing: Callable[[], Standing] | None = None,
    no_progress_s: float = float("inf"),
    cut_short: Callable[[], str | None] = lambda: None,
) -> bool:
    """Run epochs. True when every row is done; False when `stop` was set first, or when rows are left and `halted` says
    that this run does no more. `publish` commits one wave.

    `remaining` gives the work that the ledger does not show as done. It is called again after each failed epoch, so
    that a retry repeats only what was not committed. `halt` asks a running execution to end with what it has: its last
    receipts are waited for, up to `LAST_WAVE_S`. `abort` ends it at once; where it is given, nothing runs on after a
    stop. Rows that `execute` has left undone are among the work of the next epoch; where there is nothing else, `last`
    is told how many they are, and gives what executes them. Where `cut_short` gives a reason, the running execution
    ends as at a stop, and another one does what is left; that counts as no failure.

    Raises the `UserError` of `publish` or of a worker as it is; `RowsLeftError` where that leaves them undone again;
    `RunFailedError` when an epoch fails more than `retries` times in a row without anything committed in between;
    `RunInterruptedError` when nothing has moved, by `standing`, for `no_progress_s`, and where storage has no space
    left.
    """
    failed, left_before = 0, -1
    finished_work: list[ShardWork] = []
    was_last = last is None
    while not stop.is_set():
        work = list(next(epochs(remaining(), epoch_rows), []))
        if not work:
            return True
        if halted():
            return False
        rows = sum(item.num_wanted for item in work)
        if was_last and work == finished_work:
            raise RowsLeftError(rows)
        is_last = last is None or nothing_new(work, finished_work)
        run = last(rows) if last is not None and is_last else execute
        watcher.new_execution()
        failpoint("epoch.before")
        try:
            patience = _Patience(standing, no_progress_s, cut_short)
            finished = _run_epoch(run, work, publish, watcher, stop, commit_interval_s, halt, abort, patience)
        except _CutShortError as reason:
            watcher.note(f"{reason}; what was in work and is not written is done again")
            continue
        except _EpochError as error:
            left = sum(item.num_wanted for item in remaining())
            failed = failed + 1 if left == left_before else 1
            left_before = left
            if failed > retries:
                raise RunFailedError(f"gave up after {failed} attempts: {error}") from error.__cause__
            watcher.note(f"an epoch failed ({error}); attempt {failed + 1} of {retries + 1} follows")
            stop.wait(min(FIRST_BACKOFF_S * 2.0 ** (failed - 1), MAX_BACKOFF_S))
            continue
        failed, finished_work, was_last = 0, work, is_last
        failpoint("epoch.after")
        if not finished:
            return False
    return False


class _EpochError(RuntimeError):
    """The executor failed; receipts that had arrived by then are committed."""


class _CutShortError(RuntimeError):
    """The execution was ended for another one to go on; receipts that had arrived by then are committed."""


class _Patience:
    """Tells when an execution should not be waited for any longer."""

    def __init__(
        self, standing: Callable[[], Standing] | None, seconds: float, cut_short: Callable[[], str | None]
    ) -> None:
        self._standing, self._seconds, self._cut_short = standing, seconds, cut_short
        self._moves: object = None
        self._since = time.monotonic()

    def check(self, arrived: bool) -> RuntimeError | None:
        """None, or what ends the execution; `arrived`: a receipt has come."""
        why = self._cut_short()
        if why is not None:
            return _CutShortError(why)
        if self._standing is None:
            return None
        now, stands = time.monotonic(), self._standing()
        if arrived or stands.moves != self._moves:
            self._moves, self._since = stands.moves, now
        if now - self._since < self._seconds:
            return None
        return RunInterruptedError(
            f"nothing has moved for {now - self._since:,.0f} s (cluster.no_progress_timeout_s): {stands.text}"
        )


def _run_epoch(
    execute: Execute,
    work: Sequence[ShardWork],
    publish: Callable[[list[Receipt]], None],
    watcher: Watcher,
    stop: threading.Event,
    commit_interval_s: float,
    halt: Callable[[], None] | None,
    abort: Callable[[], None] | None,
    patience: _Patience,
) -> bool:
    """Commit receipts in waves while the executor runs in a thread of its own, so that a stop is noticed at once."""
    arrivals: queue.SimpleQueue[Receipt | BaseException | None] = queue.SimpleQueue()
    over = threading.Event()
    thread = threading.Thread(target=_drain, args=(execute, work, arrivals, over), daemon=True)
    thread.start()
    wave: list[Receipt] = []
    last_commit = time.monotonic()
    outcome: Receipt | BaseException | None = None
    ending: RuntimeError | None = None
    wait_until = float("inf")
    try:
        # Then what has arrived is taken without waiting for more.
        while not (time.monotonic() >= wait_until and arrivals.empty()):
            try:
                outcome = arrivals.get(timeout=0.2)
            except queue.Empty:
                outcome = None
            else:
                if not isinstance(outcome, Receipt):
                    break
                failpoint("receipt.arrived")
                watcher.receipt(outcome)
                wave.append(outcome)
            ending = ending or patience.check(arrived=outcome is not None)
            if wait_until == float("inf") and (stop.is_set() or ending):
                wait_until = time.monotonic() + (0.0 if halt is None else LAST_WAVE_S)
                if halt is not None:
                    halt()
            if time.monotonic() >= wait_until:
                over.set()
            watcher.tick()
            if wave and time.monotonic() - last_commit >= commit_interval_s:
                publish(wave)
                wave, last_commit = [], time.monotonic()
        if wave:
            publish(wave)
    except UserError:
        # What was written does not fit the table any more. The caller may start over at once: not beside this one.
        over.set()
        if abort is None:
            thread.join()
        raise
    finally:
        over.set()
        if abort is not None:
            _end_thread(thread, abort)
    if stop.is_set():
        return False
    if ending:
        raise ending
    if isinstance(outcome, BaseException):
        _raise_epoch_error(outcome)
    return True


def _end_thread(thread: threading.Thread, abort: Callable[[], None]) -> None:
    """Abort again and again until the thread ends: a stop may come before the execution has begun, when there is
    nothing to abort yet."""
    deadline = time.monotonic() + ABORT_S
    while thread.is_alive() and time.monotonic() < deadline:
        abort()
        thread.join(0.2)


def _drain(
    execute: Execute, work: Sequence[ShardWork], arrivals: "queue.SimpleQueue[object]", over: threading.Event
) -> None:
    """Put the executor's receipts into the queue. Once `over` is set nobody takes them: the executor ends at its next
    receipt."""
    try:
        for receipt in execute(work):
            arrivals.put(receipt)
            if over.is_set():
                return
        arrivals.put(None)
    except BaseException as error:
        # Handed to the run's thread, which decides between a retry and the end.
        arrivals.put(error)


def _raise_epoch_error(error: BaseException) -> None:
    """Raise the innermost cause, which a user can act on; Ray wraps it in tracebacks of its own."""
    if isinstance(error, UserError):
        raise error
    innermost: BaseException = error
    cause: BaseException | None = error
    while cause is not None:
        innermost = cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = str(innermost).strip().splitlines() or [""]
    reason = reason_of(f"{type(innermost).__name__}: {lines[0]}")
    if is_no_space(error):
        raise RunInterruptedError(
            f"no space left on a disk, the table's or one of the run's machines: {reason}"
        ) from error
    raise _EpochError(reason) from error
