"""An estimate is a ratio of sums, its range that of the parts, and CPU seconds are those of children too."""

import subprocess
import sys
import time

import numpy as np
import pytest

from pipelines.balance.core_seconds import core_seconds
from pipelines.balance.estimate import per_row, ranged
from pipelines.balance.trial import TrialPart, TrialRun


def part(rows: int, seconds: float, core_s: float | None = 1.0, failed: int = 0, operator_s: float = 1.0) -> TrialPart:
    return TrialPart(
        rows=rows,
        failed=failed,
        seconds=seconds,
        core_s=core_s,
        size_bytes=1000 * rows,
        written_bytes=10 * rows,
        requests=rows,
        operator_s=operator_s,
    )


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


def test_time_is_that_of_the_whole_trial_and_its_range_that_of_the_work_in_the_parts() -> None:
    parts = (part(10, 9), part(10, 0), part(10, 0, failed=5), part(10, 3))
    one = per_row(TrialRun(parts=parts, startup_s=3))
    assert one.seconds.value == pytest.approx(12 / 40)
    # However parts come in by the clock.
    assert one.seconds.high == pytest.approx(12 / 40 * np.exp(0.1))
    uneven = (part(10, 3, operator_s=4.0), *parts[1:])
    assert per_row(TrialRun(parts=uneven, startup_s=3)).seconds.high > 12 / 40 * 1.5
    assert one.failed.value == pytest.approx(5 / 40)
    assert one.size_bytes.value == 1000


def test_where_cpu_seconds_are_not_told_there_is_no_estimate_of_them() -> None:
    assert per_row(TrialRun(parts=(part(10, 1, None), part(10, 1, None)), startup_s=0)).core_s is None


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
