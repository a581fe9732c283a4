"""Repeats a read until it succeeds, is hopeless, or has used up its attempts or its time."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

from operators.base.errors import ErrorClass
from operators.fetching.attempt import Attempts, FetchError

_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 15.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RetryLimits:
    max_attempts: int
    """Attempts in all. Being throttled does not use them up: only `retry_s` ends that."""
    retry_s: float
    """Seconds after the first attempt began within which the last one must begin, waits for others left out."""
    object_s: float
    """Seconds for one attempt."""


def backoff_s(attempt: int, retry_after_s: float, rng: random.Random) -> float:
    """Seconds to wait after attempt number `attempt` (from 1): exponential with full jitter, after Retry-After."""
    return retry_after_s + rng.uniform(0, min(_FIRST_BACKOFF_S * 2 ** min(attempt, 30), _MAX_BACKOFF_S))


async def read_with_retries(
    read: Callable[[], Awaitable[T]],
    gates: Sequence[asyncio.Semaphore],
    limits: RetryLimits,
    tally: Attempts,
    rng: random.Random,
) -> T:
    """The result of `read`. The gates (the host's, then everyone's) are held while reading, not while waiting.

    Raises the last attempt's `FetchError`.
    """
    started = time.monotonic()
    used = 0
    while True:
        tally.attempts += 1
        try:
            async with AsyncExitStack() as held:
                for gate in gates:
                    await held.enter_async_context(gate)
                if tally.attempts == 1:
                    started = time.monotonic()
                return await _within(limits.object_s, read, tally)
        except FetchError as error:
            used += error.error_class is not ErrorClass.THROTTLED
            wait = backoff_s(tally.attempts, error.retry_after_s, rng)
            out_of_time = time.monotonic() + wait - started - tally.waited_s > limits.retry_s
            if not error.transient or used >= limits.max_attempts or out_of_time:
                raise
        await asyncio.sleep(wait)


async def _within(seconds: float, read: Callable[[], Awaitable[T]], tally: Attempts) -> T:
    try:
        async with asyncio.timeout(seconds) as tally.deadline:
            return await read()
    except TimeoutError as error:
        raise FetchError(ErrorClass.TIMEOUT, f"not read in {seconds:g} s", transient=True) from error
