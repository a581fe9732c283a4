"""How many requests a run may send, how fast, and what they cost: one count for all actors of the run."""

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class QuotaLimits:
    requests_per_minute: float
    max_images: int | None
    """Images that the spend cap pays for; None: no cap."""


def images_for(max_spend_usd: float | None, usd_per_1000_images: float) -> int | None:
    """How many images the cap pays for; None where there is no cap."""
    if max_spend_usd is None:
        return None
    # 0.3 / 0.1 is a little under 3.
    return math.floor(max_spend_usd * 1000 / usd_per_1000_images * (1 + 1e-9))


AHEAD_S = 1.0
"""Seconds before they are due that turns may be granted: what is granted is sent, whatever ends the run meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """`count` requests may be sent: the first in `delay_s` seconds, the others each `interval_s` after the last."""

    count: int
    delay_s: float
    interval_s: float
    refusal: str | None
    """Why no more will be granted; None where more may be asked for, once their turns are due within `AHEAD_S`."""


@dataclass(frozen=True, kw_only=True)
class QuotaState:
    requests: int = 0
    """Requests granted so far, retries included."""
    billed: int = 0
    """Granted requests that cost something or may have: answered with 200, or cut off before any answer."""
    capped: bool = False
    """True where the spend cap pays for no further request."""
    refused: str | None = None
    """What the API said when it refused the caller: no request can succeed any more."""

    @property
    def halted(self) -> bool:
        return self.capped or self.refused is not None


class Quota(ABC):
    """The one count of a run, shared by its API operators in whatever process they are."""

    @abstractmethod
    def exchange(self, wanted: int, unbilled: int) -> Grant:
        """Ask for `wanted` requests, and give back the price of `unbilled` ones that the provider does not charge."""

    @abstractmethod
    def refuse(self, reason: str) -> None:
        """Grant no more requests: the API refuses the caller. The first reason given stays."""

    @abstractmethod
    def state(self) -> QuotaState: ...


class LocalQuota(Quota):
    """A quota within one process. Thread-safe.

    Requests are spaced evenly, with no burst: a generic cell rate algorithm (ITU-T I.371) of tolerance zero, so any
    window of T seconds holds at most `requests_per_minute` * T / 60 of them, rounded up.
    """

    def __init__(self, limits: QuotaLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 60.0 / limits.requests_per_minute
        self._max_images = limits.max_images
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock()
        self._requests = self._billed = 0
        self._refused: str | None = None

    def exchange(self, wanted: int, unbilled: int) -> Grant:
        with self._lock:
            self._billed -= unbilled
            affordable = self._affordable(wanted)
            now = self._clock()
            first = max(now, self._next)
            count = min(affordable, self._due(first - now))
            self._billed += count
            self._requests += count
            if count:
                self._next = first + count * self._interval_s
            over = count == affordable < wanted
            refusal = (self._refused or "the run's spend cap is reached") if over else None
            return Grant(count=count, delay_s=first - now, interval_s=self._interval_s, refusal=refusal)

    def _due(self, first_s: float) -> int:
        """How many turns are due within `AHEAD_S`, where the first is due in `first_s` seconds."""
        return 0 if first_s > AHEAD_S else int((AHEAD_S - first_s) / self._interval_s) + 1

    def _affordable(self, wanted: int) -> int:
        if self._refused is not None:
            return 0
        return wanted if self._max_images is None else max(min(wanted, self._max_images - self._billed), 0)

    def refuse(self, reason: str) -> None:
        with self._lock:
            self._refused = self._refused or reason

    def state(self) -> QuotaState:
        with self._lock:
            return QuotaState(
                requests=self._requests,
                billed=self._billed,
                capped=self._max_images is not None and self._billed >= self._max_images,
                refused=self._refused,
            )
