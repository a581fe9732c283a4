"""An estimate is a ratio of sums, its range that of the parts, and CPU seconds are those of children too."""

import subprocess
import sys
import time

import numpy as np
import pytest

from pipelines.balance.core_seconds import core_seconds
from pipelines.balance.estimate import before_rows, per_row, ranged
from pipelines.balance.trial import TrialPart, TrialRun, Used


def part(rows: int, failed: int = 0, operator_s: float = 1.0) -> TrialPart:
    return TrialPart(
        rows=rows,
        failed=failed,
        size_bytes=1000 * rows,
        written_bytes=10 * rows,
        requests=rows,
        operator_s=operator_s,
    )


def trial(
    *parts: TrialPart,
    taken: tuple[float, float | None] = (12.0, 8.0),
    full: tuple[float, float | None] = (5.0, 8.0),
    first: TrialPart | None = None,
) -> TrialRun:
    taken_all, taken_full = (Used(seconds=seconds, core_s=core_s) for seconds, core_s in (taken, full))
    return TrialRun(first=first, parts=parts, taken=taken_all, full=taken_full, before=Used(seconds=7.0, core_s=6.0))


def test_the_amount_a_row_is_that_of_all_rows_together() -> None:
    assert ranged([1.0, 9.0], [10, 30]).value == pytest.approx(0.25)


def test_the_range_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = []
    for _ in range(400):
        rows = random.integers(20, 60, 8)
        found = ranged([random.normal(2, 0.8, count).sum() for count in rows], rows.tolist())
        held.append(found.low <= 2 <= found.high)
    assert 0.91 < np.mean(held) < 0.985


def test_equal_parts_have_the_least_spread_and_nothing_is_below_nothing() -> None:
    even = ranged([2.0, 2.0, 2.0], [1, 1, 1], 0.1)
    assert (even.low, even.high) == pytest.approx((2 / np.exp(0.1), 2 * np.exp(0.1)))
    assert ranged([0.0, 9.0], [1, 1]).low > 0
    assert ranged([0.0, 0.0], [1, 1]).high == 0


EVEN = (part(10), part(10), part(10), part(10))


def test_time_is_the_work_of_a_row_on_the_cores_that_were_busy_before_the_end() -> None:
    one = per_row(trial(*EVEN))
    assert one.core_s is not None
    assert one.core_s.value == pytest.approx(8 / 40)
    # 8 CPU seconds in 5 by the clock: 1.6 cores, however long the last blocks took.
    assert one.seconds.value == pytest.approx(8 / 40 / 1.6)


def test_where_cpu_seconds_are_not_told_or_too_few_the_clock_counts() -> None:
    assert per_row(trial(*EVEN, taken=(12.0, 0.4), full=(5.0, 0.3))).seconds.value == pytest.approx(12 / 40)
    untold = per_row(trial(*EVEN, taken=(12.0, None), full=(5.0, None)))
    assert untold.core_s is None
    assert untold.seconds.value == pytest.approx(12 / 40)


def test_the_range_is_that_of_the_work_in_the_parts() -> None:
    even, uneven = per_row(trial(*EVEN)), per_row(trial(part(10, operator_s=4.0), *EVEN[1:]))
    assert even.seconds.high == pytest.approx(even.seconds.value * np.exp(0.1))
    assert uneven.seconds.high > 1.5 * uneven.seconds.value


def test_rows_that_warmed_up_count_but_for_their_work() -> None:
    one = per_row(trial(*EVEN, first=part(10, failed=5, operator_s=100.0)))
    assert one.failed.value == pytest.approx(5 / 50)
    assert one.size_bytes.value == 1000
    assert one.seconds.high == pytest.approx(one.seconds.value * np.exp(0.1))


def test_what_is_taken_once_is_without_the_rows_that_warmed_up() -> None:
    tried = trial(*EVEN, first=part(10))
    once = before_rows(tried, per_row(tried))
    assert once.core_s == pytest.approx(6 - 10 * 8 / 40)
    assert once.seconds == pytest.approx(7 - 10 * 8 / 40 / 1.6)


def test_cpu_seconds_are_those_of_a_child_that_is_still_there() -> None:
    before = core_seconds()
    assert before is not None
    code = "import time\nwhile time.process_time() < 0.4: pass\nprint(1, flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    spent = time.process_time()
    found = core_seconds()
    child.communicate(b"\n")
    assert found is not None
    assert 0.35 < found - before < 0.8 + (time.process_time() - spent)
