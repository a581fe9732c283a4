"""Turns in the quota for the requests of one event loop: requests that wait at the same time ask the quota together."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from operators.api.quota import AHEAD_S, Grant, Quota
from operators.fetching.attempt import Attempts

_GATHER_S = 0.05
"""Seconds in which requests gather before the quota is asked for all: at most twenty questions a second, at any rate of
sending."""

_AGAIN_S = 0.5
"""Longest wait for turns that are due later before the quota is asked again, so that a waiting request hears that the
run is over."""


class NotAttemptedError(Exception):
    """The row may send no more requests; it is left undone, and is not a failure."""


class Slots:
    """Waits for turns. Belongs to one running event loop. The quota may answer over the network, so it is asked in a
    thread."""

    def __init__(self, quota: Quota, threads: ThreadPoolExecutor) -> None:
        self._quota = quota
        self._threads = threads
        self._waiting: list[asyncio.Future[None]] = []
        self._unbilled = 0
        self._asking: asyncio.Task[None] | None = None
        self._exchanging = asyncio.Lock()

    async def take(self, tally: Attempts) -> None:
        """Wait for a turn; the wait does not count as the row's time. Raises `NotAttemptedError`, and what the quota
        itself raises."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._ask()
        with tally.waiting():
            await turn

    def give_back(self) -> None:
        """Report a granted request as not charged for."""
        self._unbilled += 1
        self._ask()

    async def refuse(self, reason: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._quota.refuse, reason)

    async def settle(self) -> None:
        """Wait until the quota knows of everything that was given back before."""
        # Whoever waits for a turn hears of a quota that is gone; what was answered is not lost for it.
        with suppress(OSError):
            await self._exchange(0)

    def _ask(self) -> None:
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask_quota())

    async def _ask_quota(self) -> None:
        try:
            await asyncio.sleep(_GATHER_S)
            while self._waiting or self._unbilled:
                turns, self._waiting = self._waiting, []
                try:
                    grant = await self._exchange(len(turns))
                except Exception as error:
                    # Whoever waits has to hear of it: without a quota nothing may be sent.
                    _fail(turns, error)
                    continue
                _deal(turns[: grant.count], grant)
                others = turns[grant.count :]
                if grant.refusal is not None:
                    _fail(others, NotAttemptedError(grant.refusal))
                elif others:
                    self._waiting = others + self._waiting
                    due_s = grant.delay_s + grant.count * grant.interval_s
                    await asyncio.sleep(min(max(due_s - AHEAD_S, _GATHER_S), _AGAIN_S))
        finally:
            self._asking = None

    async def _exchange(self, wanted: int) -> Grant:
        async with self._exchanging:
            unbilled, self._unbilled = self._unbilled, 0
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._quota.exchange, wanted, unbilled
            )


def _deal(turns: list["asyncio.Future[None]"], grant: Grant) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time() + grant.delay_s
    for place, turn in enumerate(turns):
        loop.call_at(start + place * grant.interval_s, _begin, turn)


def _begin(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


def _fail(turns: list["asyncio.Future[None]"], error: Exception) -> None:
    for turn in turns:
        if not turn.done():
            turn.set_exception(error)
