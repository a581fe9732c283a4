"""The pace of a host: what slows it down, what does not, and who waits while it is away."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from operators.base.errors import ErrorClass
from operators.fetching.attempt import Attempts, FetchError
from operators.fetching.pace import AWAY_AFTER, HostPace, HostPaces, Shared

REFUSAL = FetchError(ErrorClass.UNAVAILABLE, "HTTP 503", http_status=503, transient=True)


def shared(patience_s: float = 60.0) -> Shared:
    return Shared(
        everyone=asyncio.Semaphore(1000),
        patience_s=lambda since: patience_s,
        silence_is_the_objects=False,
        rng=random.Random(1),
    )


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


def refuse(pace: HostPace, times: int) -> None:
    for _ in range(times):
        pace.refused(REFUSAL, blamed=False)


def answer(pace: HostPace, answers: int, refused: float, seed: int = 0) -> None:
    """So many answers, that share of them refusals, in an order by chance."""
    order = [number < answers * refused for number in range(answers)]
    random.Random(seed).shuffle(order)
    for is_refusal in order:
        if is_refusal:
            refuse(pace, 1)
        else:
            pace.good()


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def hold(pace: HostPace, inside: list[int], number: int, end: asyncio.Event, tally: Attempts) -> None:
    async with pace.turn(tally):
        inside.append(number)
        await end.wait()


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_refusals_by_chance_slow_nothing_down(share: float) -> None:
    pace = HostPace(32, shared())
    for seed in range(10):
        answer(pace, 1000, share, seed)
    assert pace.window > 24


def test_a_host_that_refuses_half_is_asked_less_and_then_as_before() -> None:
    pace = HostPace(256, shared())
    answer(pace, 2000, 0.5)
    slowed = pace.window
    assert slowed < 64
    answer(pace, 8000, 0.0)
    assert pace.window == 256


@on_a_loop
async def test_a_host_that_is_away_gets_one_request_at_a_time_and_then_all_that_waited() -> None:
    pace = HostPace(32, shared())
    refuse(pace, AWAY_AFTER)
    inside, end = list[int](), asyncio.Event()
    waiting = [asyncio.create_task(hold(pace, inside, number, end, Attempts())) for number in range(10)]
    await asyncio.sleep(0.5)
    assert inside == [0]
    pace.good()
    await let_run()
    assert sorted(inside) == list(range(10))
    end.set()
    await asyncio.gather(*waiting)
    assert pace.idle


@on_a_loop
async def test_who_is_repeated_comes_before_who_is_new() -> None:
    pace = HostPace(1, shared())
    inside, ends = list[int](), [asyncio.Event() for _ in range(3)]
    tallies = [Attempts(), Attempts(), Attempts(attempts=1)]
    waiting = []
    for number, (end, tally) in enumerate(zip(ends, tallies, strict=True)):
        waiting.append(asyncio.create_task(hold(pace, inside, number, end, tally)))
        await let_run()
    for number in (0, 2, 1):
        ends[number].set()
        await let_run()
    await asyncio.gather(*waiting)
    assert inside == [0, 2, 1]


@on_a_loop
async def test_a_host_that_is_given_up_lets_everybody_go_at_once_and_is_tried_again_by_one() -> None:
    pace = HostPace(32, shared(patience_s=0.3))
    refuse(pace, AWAY_AFTER)
    inside, end = list[int](), asyncio.Event()
    waiting = [asyncio.create_task(hold(pace, inside, number, end, Attempts())) for number in range(10)]
    started = time.monotonic()
    await asyncio.wait(waiting, timeout=20, return_when=asyncio.FIRST_EXCEPTION)
    await asyncio.sleep(0.05)
    assert time.monotonic() - started < 10
    gone = [task for task in waiting if task.done()]
    assert len(gone) >= 9, "one may be asking"
    error = gone[0].exception()
    assert isinstance(error, FetchError)
    assert (error.away, error.error_class, error.http_status) == (True, ErrorClass.UNAVAILABLE, 503)
    refuse(pace, 1)
    with pytest.raises(FetchError, match="given nothing else"):
        async with pace.turn(Attempts()):
            raise AssertionError("not before the next probe")
    pace.good()
    async with pace.turn(Attempts()):
        assert not pace.given_up
    end.set()
    await asyncio.gather(*waiting, return_exceptions=True)


@on_a_loop
async def test_what_a_host_asks_for_is_asked_once() -> None:
    pace = HostPace(32, shared())
    later = FetchError(ErrorClass.THROTTLED, "HTTP 429", http_status=429, transient=True, retry_after_s=1.0)
    assert pace.refused(later, blamed=False) == pytest.approx(1.0, abs=0.05)
    await asyncio.sleep(0.3)
    assert pace.refused(later, blamed=False) < 0.75, "both end with the first"


@on_a_loop
async def test_a_turn_that_is_given_up_goes_to_the_next() -> None:
    pace = HostPace(1, shared())
    inside, end = list[int](), asyncio.Event()
    tasks = [asyncio.create_task(hold(pace, inside, number, end, Attempts())) for number in range(4)]
    await let_run()
    tasks[1].cancel()
    tasks[0].cancel()
    await let_run()
    assert inside == [0, 2]
    end.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (inside, pace.idle) == ([0, 2, 3], True)


def test_hosts_that_are_idle_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.fetching.pace._IDLE_HOSTS", 10)
    paces = HostPaces(shared())
    for number in range(100):
        paces.of(f"h{number}", 32)
    assert len(paces._paces) == 10
    assert paces.of("h99", 32) is paces.of("h99", 32)
