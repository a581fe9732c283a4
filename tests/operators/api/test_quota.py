"""Turns spaced evenly, a cap that is never passed, and one answer for all who ask."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from operators.api.quota import Grant, LocalQuota, Quota, QuotaLimits, QuotaState, images_for
from operators.api.slots import NotAttemptedError, Slots
from operators.fetching.attempt import Attempts


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def quota(per_minute: float = 600.0, max_images: int | None = None, clock: Clock | None = None) -> LocalQuota:
    return LocalQuota(QuotaLimits(requests_per_minute=per_minute, max_images=max_images), clock or Clock())


def test_turns_are_spaced_evenly_over_all_who_ask() -> None:
    clock = Clock()
    shared = quota(per_minute=480.0, clock=clock)
    first, second = shared.exchange(3, 0), shared.exchange(2, 0)
    assert (first.count, first.delay_s, first.interval_s) == (3, 0.0, 0.125)
    assert (second.count, second.delay_s) == (2, 0.375)
    clock.now += 0.0625
    assert shared.exchange(1, 0).delay_s == 0.5625


def test_turns_are_granted_a_second_ahead_and_no_more() -> None:
    clock = Clock()
    shared = quota(per_minute=120.0, clock=clock)
    first = shared.exchange(40, 0)
    assert (first.count, first.refusal) == (3, None)
    second = shared.exchange(37, 0)
    assert (second.count, second.delay_s, second.refusal) == (0, 1.5, None)
    clock.now += 0.5
    assert shared.exchange(37, 0).count == 1
    assert shared.state().requests == 4


def test_a_pause_saves_up_no_burst() -> None:
    clock = Clock()
    shared = quota(per_minute=60.0, clock=clock)
    shared.exchange(1, 0)
    clock.now += 3600.0
    grant = shared.exchange(5, 0)
    assert (grant.count, grant.delay_s, grant.interval_s) == (2, 0.0, 1.0)


def test_the_cap_counts_what_is_billed_and_takes_back_what_is_not() -> None:
    shared = quota(max_images=5)
    assert shared.exchange(3, 0).count == 3
    assert shared.exchange(0, 1).count == 0
    assert not shared.state().capped
    grant = shared.exchange(10, 0)
    assert grant.count == 3
    assert "spend cap" in str(grant.refusal)
    assert shared.state() == QuotaState(requests=6, billed=5, capped=True, refused=None)
    assert shared.exchange(1, 0).count == 0


def test_the_first_refusal_stands_and_ends_all_grants() -> None:
    shared = quota()
    shared.refuse("no permission")
    shared.refuse("something else")
    grant = shared.exchange(4, 0)
    assert (grant.count, grant.refusal) == (0, "no permission")
    assert shared.state().halted


@pytest.mark.parametrize(
    ("usd", "price", "images"),
    [(None, 0.1, None), (0.0, 0.1, 0), (0.3, 0.1, 3000), (0.00019, 0.1, 1), (5.0, 0.12, 41666)],
)
def test_images_for_a_sum(usd: float | None, price: float, images: int | None) -> None:
    assert images_for(usd, price) == images


def test_threads_together_get_no_more_than_the_cap() -> None:
    shared = quota(per_minute=1e9, max_images=500)
    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(lambda _: shared.exchange(3, 1).count, range(400)))
    assert sum(granted) - 400 == shared.state().billed == 500


class CountingQuota(Quota):
    """Notes who asked, and answers slowly, as over a network."""

    def __init__(self, inner: Quota) -> None:
        self.inner = inner
        self.asked: list[int] = []
        self.lock = threading.Lock()

    def exchange(self, wanted: int, unbilled: int) -> Grant:
        with self.lock:
            self.asked.append(wanted)
        time.sleep(0.02)
        return self.inner.exchange(wanted, unbilled)

    def refuse(self, reason: str) -> None:
        self.inner.refuse(reason)

    def state(self) -> QuotaState:
        return self.inner.state()


def test_those_who_wait_together_share_one_question() -> None:
    counting = CountingQuota(quota(per_minute=60_000.0, max_images=90, clock=None))
    taken: list[float] = []

    async def ask_all() -> int:
        slots = Slots(counting, ThreadPoolExecutor(2))
        results = await asyncio.gather(*(take(slots) for _ in range(100)), return_exceptions=True)
        return sum(isinstance(result, NotAttemptedError) for result in results)

    async def take(slots: Slots) -> None:
        await slots.take(Attempts())
        taken.append(time.monotonic())

    assert asyncio.run(ask_all()) == 10
    assert counting.asked == [100]
    assert len(taken) == 90
    assert 0.08 < taken[-1] - taken[0] < 1.0


def test_who_waits_for_a_late_turn_hears_soon_that_the_run_is_over() -> None:
    """Forty turns at two a second take 20 s."""
    shared = LocalQuota(QuotaLimits(requests_per_minute=120.0, max_images=None))

    async def ask() -> list[object]:
        slots = Slots(shared, ThreadPoolExecutor(2))
        asyncio.get_running_loop().call_later(0.5, shared.refuse, "over")
        return list(await asyncio.gather(*(slots.take(Attempts()) for _ in range(40)), return_exceptions=True))

    started = time.monotonic()
    results = asyncio.run(ask())
    assert time.monotonic() - started < 5.0
    assert [str(result) for result in results[-35:]] == ["over"] * 35


def test_a_quota_that_cannot_be_asked_is_told_to_all_who_wait() -> None:
    class Broken(CountingQuota):
        def exchange(self, wanted: int, unbilled: int) -> Grant:
            raise OSError("gone")

    async def ask() -> list[object]:
        slots = Slots(Broken(quota()), ThreadPoolExecutor(2))
        return list(await asyncio.gather(*(slots.take(Attempts()) for _ in range(3)), return_exceptions=True))

    assert [str(result) for result in asyncio.run(ask())] == ["gone"] * 3
