"""One pace for each host: how many requests it is sent at a time, and whether any, by what it answers.

Additive increase, multiplicative decrease, as in Chiu and Jain, "Analysis of the increase and decrease algorithms for
congestion avoidance" (1989), on the share of answers that are refusals: one now and then is an accident, and slows
nothing down. A host that refuses everything is asked by one request at a time, at growing intervals, while all others
wait: a circuit breaker, whose probes are the requests themselves.

What a host does to everyone (a refusal, no connection) is borne for a time; what an object does by itself (a body that
stalls or breaks off while its host serves others) for a number of attempts.

A request that stays without an answer for longer than is usual costs its host nothing, and counts no longer among those
in flight to it: a few objects that stall would else take the place of all others.
"""

import asyncio
import random
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from operators.base.errors import ErrorClass
from operators.fetching.attempt import Attempts, FetchError

ROUND = 32
"""Answers, at least, over which the share of refusals is taken."""
TOO_MANY_REFUSED, FEW_REFUSED = 0.4, 0.3
"""Shares above which the pace is halved, and below which it grows. With 20 % of refusals that come by chance a round of
32 answers is above the upper one once in 200 rounds, and below the lower one in nine of ten."""
AWAY_AFTER = 8
"""Refusals in a row after which a host is away: by chance, at 20 %, three times in a million."""
FIRST_PROBE_S, MAX_PROBE_S, GIVEN_UP_PROBE_S = 0.2, 5.0, 15.0
"""Seconds between requests to a host that is away; the last, once nobody waits for it any more."""
SILENT_S = 0.5
"""Seconds, at least, without an answer after which a request makes room for another."""
_IDLE_HOSTS = 4096
"""Hosts without a request whose pace is remembered."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the hosts of one event loop have in common."""

    everyone: asyncio.Semaphore
    """Requests in flight to all hosts."""
    patience_s: Callable[[float], float]
    """Seconds, from a moment of `time.monotonic` on, for which a host may refuse everything before it is given up."""
    silence_is_the_objects: bool
    """No answer is held against the object also where its host answers nobody else."""
    rng: random.Random
    usual_s: Callable[[], float] = lambda: 0.0
    """Seconds that few reads exceed; 0 where that is not known."""
    silent_s: float = SILENT_S
    """Seconds without an answer after which a request makes room, where it is not known what is usual."""
    last_s: float = float("inf")
    """When (`time.monotonic`) those that wait for a host that answers nobody wait no longer."""
    first_byte_s: float = 10.0
    """Seconds for which a request waits for its answer."""


class HostPace:
    """The pace of one host. Belongs to one running event loop."""

    def __init__(self, most: int, shared: "Shared") -> None:
        self._most = most
        self._shared = shared
        self.window = float(most)
        """Requests that may be in flight."""
        self.well_at = float("-inf")
        """When the host last answered as one that is well."""
        self.away = False
        """All it gave lately were refusals."""
        self._regained = float(most)
        self._made = time.monotonic()
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._good = self._refused = self._streak = self._probes = 0
        self._streak_since = 0.0
        self._not_before = self._retry_at = 0.0
        self._last: FetchError | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return not self._in_flight and not self._waiting

    @property
    def given_up(self) -> bool:
        """It has been away for all of its patience."""
        return self.away and time.monotonic() >= self._gives_up_at

    @property
    def _gives_up_at(self) -> float:
        return self._streak_since + self._shared.patience_s(self._streak_since)

    @asynccontextmanager
    async def turn(self, tally: Attempts) -> AsyncIterator[None]:
        """Wait until the host, and then the whole actor, may send a request; those that are repeated come first. Raises
        the last `FetchError`, its `away` set, once the host is given up."""
        with tally.waiting():
            await self._take_turn(first=tally.attempts > 0)
        place = _PlaceInFlight(self, tally)
        try:
            with tally.waiting():
                await self._shared.everyone.acquire()
            try:
                place.begin()
                yield
            finally:
                self._shared.everyone.release()
        finally:
            place.leave()

    @property
    def answers_nobody(self) -> bool:
        """The time for slow objects is over, and the host has answered nothing for longer than any request waits."""
        now = time.monotonic()
        return now >= self._shared.last_s and now - max(self.well_at, self._made) > self._shared.first_byte_s + 1

    def makes_room(self, since: float) -> float | None:
        """None where a request that has been without an answer since then makes room for another now; else seconds
        until that is to be asked again."""
        usual = self._shared.usual_s()
        left = since + (max(SILENT_S, 2 * usual) if usual else self._shared.silent_s) - time.monotonic()
        if left > 0:
            return left
        is_its_own = self._shared.silence_is_the_objects or self.well_at > since
        return None if is_its_own else SILENT_S

    def leave(self) -> None:
        self._in_flight -= 1
        self._let_in()

    def silent_since(self, moment: float) -> bool:
        return self.well_at < moment

    def blames(self, error: FetchError, tally: Attempts, began: float) -> bool:
        """Whether it was the object, since its host was well: it had answered, or answered others meanwhile."""
        if error.error_class is not ErrorClass.TIMEOUT or error.of_host:
            return tally.answered
        return tally.answered or self._shared.silence_is_the_objects or self.well_at > began

    def good(self) -> None:
        """The host answered, if only that there is no such object."""
        self._good += 1
        self._streak = self._probes = 0
        self.well_at = time.monotonic()
        if self.away:
            self.away = False
            self.window, self._not_before = max(self._regained / 2, 1.0), 0.0
            self._good = self._refused = 0
        self._end_round()
        self._let_in()

    def refused(self, error: FetchError, blamed: bool) -> float:
        """The host did not answer, or asked for patience. What it asks for (Retry-After) counts from its first such
        answer: those that come meanwhile end at that moment too."""
        now = time.monotonic()
        if blamed:
            return 0.0
        self._last = error
        self._refused += 1
        self._streak += 1
        if self._streak == 1:
            self._streak_since = now
        if error.retry_after_s and now >= self._retry_at:
            self._retry_at = now + error.retry_after_s
        if self._streak >= AWAY_AFTER:
            self._probe_later(now)
        self._end_round()
        self._let_in()
        return max(self._retry_at - now, 0.0)

    def _probe_later(self, now: float) -> None:
        if not self.away:
            self.away, self._regained = True, max(self.window, 2.0)
        self.window = 1.0
        wait = min(FIRST_PROBE_S * 2.0 ** min(self._probes, 16), MAX_PROBE_S)
        if self.given_up:
            wait = GIVEN_UP_PROBE_S
        self._probes += 1
        self._not_before = max(self._retry_at, now + wait * self._shared.rng.uniform(0.5, 1.0))

    def _end_round(self) -> None:
        answers = self._good + self._refused
        if self.away or answers < max(ROUND, self.window):
            return
        share = self._refused / answers
        self._good = self._refused = 0
        if share > TOO_MANY_REFUSED:
            self.window = max(self.window / 2, 1.0)
            # At the lowest pace only a pause is slower.
            if self.window == 1.0:
                self._not_before = max(self._retry_at, time.monotonic() + FIRST_PROBE_S)
            else:
                self._not_before = self._retry_at
        elif share < FEW_REFUSED:
            self.window = min(self.window + max(self._most / 16, 1.0), float(self._most))

    async def _take_turn(self, first: bool) -> None:
        self._raise_if_given_up()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self._in_flight -= 1
            self._let_in()
            raise

    def _raise_if_given_up(self) -> None:
        if self.given_up and (self._in_flight or time.monotonic() < self._not_before):
            raise self._gone()
        if self.answers_nobody:
            raise self._silent()

    def _silent(self) -> FetchError:
        seconds = time.monotonic() - max(self.well_at, self._made)
        return FetchError(
            ErrorClass.TIMEOUT,
            f"the host has answered nobody for {seconds:.0f} s, and the time for slow images (retry_s) is over",
            transient=True,
            away=True,
        )

    def _gone(self) -> FetchError:
        last = self._last
        assert last is not None
        seconds = time.monotonic() - self._streak_since
        return FetchError(
            last.error_class,
            f"{last}; the host has given nothing else for {seconds:.0f} s",
            http_status=last.http_status,
            transient=True,
            away=True,
            of_caller=last.of_caller,
        )

    def _let_in(self) -> None:
        """Give the turn to as many as may have it now; come back when that changes by time alone."""
        now = time.monotonic()
        while self._waiting and self._in_flight < int(self.window) and now >= self._not_before:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)
        if self.given_up or self.answers_nobody:
            error = self._gone if self.given_up else self._silent
            while self._waiting:
                turn = self._waiting.popleft()
                if not turn.done():
                    turn.set_exception(error())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and (now < self._not_before or self.away):
            until = self._not_before if now < self._not_before else self._gives_up_at
            until = min(until, self._gives_up_at) if self.away else until
            self._timer = asyncio.get_running_loop().call_later(max(until - now, 0.0) + 0.001, self._let_in)


class _PlaceInFlight:
    """The place of one request among those in flight to its host: left when it ends, or when it has been without an
    answer for long."""

    def __init__(self, pace: HostPace, tally: Attempts) -> None:
        self._pace, self._tally = pace, tally
        self._held = True
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._since = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(SILENT_S, self._look)

    def _look(self) -> None:
        """A body that comes slowly keeps its place: it takes of the host's bandwidth."""
        if not self._held or self._tally.answered:
            return
        again = self._pace.makes_room(self._since)
        if again is None:
            self.leave()
        else:
            self._timer = asyncio.get_running_loop().call_later(again + 0.001, self._look)

    def leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._held:
            self._held = False
            self._pace.leave()


class HostPaces:
    """The paces of all hosts that have requests, and of those that had lately."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._paces: OrderedDict[str, HostPace] = OrderedDict()

    def of(self, host: str, most: int) -> HostPace:
        """The host's pace, of at most so many requests at a time."""
        pace = self._paces.get(host)
        if pace is None:
            pace = self._paces[host] = HostPace(most, self._shared)
            if len(self._paces) > _IDLE_HOSTS:
                self._forget_idle()
        self._paces.move_to_end(host)
        return pace

    def _forget_idle(self) -> None:
        """Never the latest, which is about to be used."""
        idle = [host for host, pace in list(self._paces.items())[:-1] if pace.idle]
        for host in idle[: len(self._paces) - _IDLE_HOSTS]:
            del self._paces[host]
