"""Decode processes side by side: each call has one of its own, and no more are started than waiting calls need."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from operators.decode import DecodeOptions, image_decoder
from operators.decoding.pool import START_S, DecodePool
from tests.operators.decoding.test_process import PREPROCESS, png

SLOW = [png(40, 3000)] * 12
"""Takes well over `START_S`."""


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    pool = image_decoder(DecodeOptions(), {"pixels": PREPROCESS}, None, 3)
    assert isinstance(pool, DecodePool)
    yield pool
    pool.close()
    assert [process.pid for process in pool.processes] == [None, None, None]


def started(pool: DecodePool) -> int:
    return sum(process.pid is not None for process in pool.processes)


def side_by_side(pool: DecodePool, images: list[memoryview], calls: int) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.extend(pool.decode(images).pixels[:1])) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_call_that_waits_long_gets_a_process_of_its_own_and_what_one_gives(pool: DecodePool) -> None:
    began = time.monotonic()
    alone = pool.decode(SLOW)
    assert time.monotonic() - began > START_S
    assert started(pool) == 1
    found = side_by_side(pool, SLOW, 2)
    assert started(pool) == 2
    assert len(found) == 2
    assert all(np.array_equal(each, alone.pixels[0]) for each in found)


def test_short_waits_start_nothing(pool: DecodePool) -> None:
    assert len(side_by_side(pool, [png(40)], 3)) == 3
    assert started(pool) == 1


def test_many_short_waits_do(pool: DecodePool) -> None:
    deadline = time.monotonic() + 30
    while started(pool) < 3 and time.monotonic() < deadline:
        assert len(side_by_side(pool, [png(40)] * 8, 4)) == 4
    assert started(pool) == 3
