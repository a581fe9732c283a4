"""Repeats a read until it succeeds, is hopeless, or has used up its attempts or its time, at the pace of its host."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from operators.base.errors import ErrorClass
from operators.fetching.attempt import Attempts, FetchError

_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 15.0

T = TypeVar("T")


class Pace(Protocol):
    """When a request may be sent, by what earlier ones were answered."""

    def turn(self, tally: Attempts) -> AbstractAsyncContextManager[None]:
        """Held while reading. Raises the `FetchError` of others where it waits no longer."""

    def good(self) -> None:
        """An attempt was answered."""

    def refused(self, error: FetchError, blamed: bool) -> float:
        """An attempt was not, or was told to wait: seconds before the next attempt of its row. `blamed`: it is held
        against the row."""

    def silent_since(self, moment: float) -> bool:
        """Whether nobody was answered since then (`time.monotonic`)."""

    def blames(self, error: FetchError, tally: Attempts, began: float) -> bool:
        """Whether the failed attempt, begun then, is one of the few that a row has."""


@dataclass(frozen=True, kw_only=True)
class RetryLimits:
    max_attempts: int
    """Attempts that may be held against a row (`Pace.blames`)."""
    patience_s: Callable[[float], float]
    """Seconds after a moment (`time.monotonic`), that of the first attempt, within which the last one must begin, waits
    for others left out."""
    object_s: float
    """Seconds for one attempt."""


def backoff_s(attempt: int, rng: random.Random) -> float:
    """Seconds to wait after attempt number `attempt` (from 1): exponential with full jitter."""
    return rng.uniform(0, min(_FIRST_BACKOFF_S * 2 ** min(attempt, 30), _MAX_BACKOFF_S))


async def read_with_retries(
    read: Callable[[], Awaitable[T]], pace: Pace, limits: RetryLimits, tally: Attempts, rng: random.Random
) -> T:
    """The result of `read`. Raises the last attempt's `FetchError`, or that of the pace."""
    used = 0
    while True:
        async with pace.turn(tally):
            began = time.monotonic()
            tally.attempts += 1
            tally.answered = False
            if tally.began is None:
                tally.began, tally.waited_s = began, 0.0
            try:
                result = await _within(limits.object_s, read, tally)
            except FetchError as error:
                failed, wait, blamed = error, error.retry_after_s, pace.blames(error, tally, began)
                if not error.transient or tally.answered:
                    pace.good()
                else:
                    wait = pace.refused(error, blamed)
            else:
                pace.good()
                return result
        used += blamed
        wait += backoff_s(tally.attempts, rng)
        spent = time.monotonic() + wait - tally.began - tally.waited_s
        if not failed.transient or used >= limits.max_attempts:
            raise failed
        if spent > limits.patience_s(tally.began):
            failed.away = pace.silent_since(tally.began)
            raise failed
        await asyncio.sleep(wait)


async def _within(seconds: float, read: Callable[[], Awaitable[T]], tally: Attempts) -> T:
    try:
        async with asyncio.timeout(seconds) as tally.deadline:
            return await read()
    except TimeoutError as error:
        raise FetchError(ErrorClass.TIMEOUT, f"not read in {seconds:g} s", transient=True) from error
    finally:
        tally.deadline = None
