"""A step tried again after a pause while what failed may pass: storage, the network, another writer on the table."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from jobs.nights.report import NightStep, StepName, StepStatus
from jobs.session.progress import duration
from operators.base.errors import UserError
from operators.storage.no_space import is_no_space
from operators.storage.redact import reason_of
from operators.storage.uris import StorageError
from pipelines.table.errors import TableError


class StepRetries(BaseModel):
    """How often a step that failed is tried again, and after how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(default=3, ge=1)
    """In all, the first included."""
    first_pause_s: float = Field(default=30.0, ge=0)
    """Before the second attempt; each later pause is twice as long."""
    longest_pause_s: float = Field(default=900.0, ge=0)

    def pause_s(self, attempt: int) -> float:
        """Seconds before attempt number `attempt`, counted from 1."""
        return min(self.first_pause_s * 2.0 ** (attempt - 2), self.longest_pause_s)


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """How one attempt at a step ended."""

    status: StepStatus
    message: str
    result: dict[str, Any] = field(default_factory=dict)
    may_pass: bool = False
    """Of a failure: whether trying again may help."""


def take_step(
    name: StepName,
    attempt: Callable[[], StepOutcome],
    retries: StepRetries,
    note: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> NightStep:
    """The step, tried until it does not fail, what failed will not pass, or the attempts are used up."""
    seconds = 0.0
    for number in count(1):
        began_at, began = time.time(), time.monotonic()
        outcome = _guarded(attempt)
        seconds += time.monotonic() - began
        if outcome.status != "failed" or not outcome.may_pass or number == retries.attempts:
            break
        wait_s = retries.pause_s(number + 1)
        note(f"{name}: {outcome.message}; attempt {number + 1} of {retries.attempts} in {duration(wait_s)}")
        pause(wait_s)
    return NightStep(
        name=name,
        status=outcome.status,
        began_at=began_at,
        seconds=seconds,
        attempts=number,
        message=outcome.message,
        result=outcome.result,
    )


def _guarded(attempt: Callable[[], StepOutcome]) -> StepOutcome:
    """The outcome; an error that is told without a traceback is a failed step."""
    try:
        return attempt()
    except (UserError, StorageError, TableError, OSError) as error:
        if is_no_space(error):
            return StepOutcome(status="interrupted", message=f"no space left: {reason_of(error)}")
        # What a user must mend is the same at the next attempt.
        lasting = isinstance(error, (UserError, StorageError))
        return StepOutcome(status="failed", message=reason_of(error), may_pass=not lasting)
