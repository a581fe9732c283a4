"""What may pass is tried again, after pauses that grow; what a user must mend is not."""

import errno
from collections.abc import Callable

import pytest

from jobs.nights.retry import StepOutcome, StepRetries, take_step
from operators.base.errors import UserError
from pipelines.table.errors import CommitFailedError, FencedError, RefusedError

RETRIES = StepRetries(attempts=4, first_pause_s=10, longest_pause_s=30)
DONE = StepOutcome(status="done", message="all of it")


def failing(times: int, error: Exception) -> Callable[[], StepOutcome]:
    left = [times]

    def attempt() -> StepOutcome:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return DONE

    return attempt


@pytest.mark.parametrize("error", [OSError("no answer"), FencedError("another run"), CommitFailedError("not landed")])
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    pauses: list[float] = []
    notes: list[str] = []
    step = take_step("refresh", failing(3, error), RETRIES, notes.append, pauses.append)
    assert (step.status, step.attempts, step.message) == ("done", 4, "all of it")
    assert pauses == [10, 20, 30]
    assert notes[0] == f"refresh: {error}; attempt 2 of 4 in 10 s"


def test_it_ends_when_the_attempts_are_used_up() -> None:
    pauses: list[float] = []
    step = take_step("refresh", failing(9, OSError("no answer")), RETRIES, lambda text: None, pauses.append)
    assert (step.status, step.attempts, step.message, len(pauses)) == ("failed", 4, "no answer", 3)


@pytest.mark.parametrize("error", [UserError("no such column"), RefusedError("too many would go")])
def test_what_a_user_must_mend_is_tried_once(error: Exception) -> None:
    step = take_step("drift", failing(1, error), RETRIES, lambda text: None, lambda s: pytest.fail("paused"))
    assert (step.status, step.attempts, step.message) == ("failed", 1, str(error))


def test_a_full_disk_is_for_the_next_command() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    step = take_step("refresh", failing(1, full), RETRIES, lambda text: None, lambda s: pytest.fail("paused"))
    assert (step.status, step.attempts) == ("interrupted", 1)
    assert step.message.startswith("no space left: ")


def test_a_failure_that_a_report_tells_is_tried_again_where_it_may_pass() -> None:
    outcomes = [StepOutcome(status="failed", message="workers died", may_pass=True), DONE]
    step = take_step("refresh", lambda: outcomes.pop(0), RETRIES, lambda text: None, lambda s: None)
    assert (step.status, step.attempts) == ("done", 2)


def test_a_threshold_that_is_not_kept_is_measured_once() -> None:
    exceeded = StepOutcome(status="exceeded", message="AUC 0.9")
    step = take_step("drift", lambda: exceeded, RETRIES, lambda text: None, lambda s: pytest.fail("paused"))
    assert (step.status, step.attempts) == ("exceeded", 1)


def test_no_secret_is_told() -> None:
    error = OSError("PUT https://u:pass@host/x?X-Amz-Signature=abcdef0123 failed")
    step = take_step("refresh", failing(9, error), StepRetries(attempts=1), lambda text: None)
    assert "pass" not in step.message
    assert "abcdef0123" not in step.message


def test_a_bug_is_no_failed_step() -> None:
    with pytest.raises(ZeroDivisionError):
        take_step("refresh", failing(1, ZeroDivisionError()), RETRIES, lambda text: None)
