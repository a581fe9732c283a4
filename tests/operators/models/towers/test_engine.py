"""The engine, with a device that computes when it is told to: what it starts, in which order, and what it waits for."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from operators.models.towers.engine import AHEAD, Engine, Finish


class Device:
    """Each launch takes a number; its vector is there when `done` is set."""

    def __init__(self) -> None:
        self.launched: list[int] = []
        self.waited: list[int] = []
        self.most_on_device = 0
        self.done = threading.Event()

    def launch(self, number: int) -> Finish:
        if number < 0:
            raise ValueError(f"no vector of {number}")
        self.launched.append(number)
        self.most_on_device = max(self.most_on_device, len(self.launched) - len(self.waited))

        def finish() -> np.ndarray:
            assert self.done.wait(30)
            self.waited.append(number)
            return np.full((2, 3), number, np.float32)

        return finish


@pytest.fixture
def device() -> Device:
    return Device()


def test_vectors_come_in_the_order_of_the_batches(device: Device) -> None:
    device.done.set()
    vectors = Engine(device.launch).run([3, 1, 2])
    assert vectors.tolist() == [[3] * 3] * 2 + [[1] * 3] * 2 + [[2] * 3] * 2
    assert device.launched == [3, 1, 2]


def test_the_next_call_is_on_the_device_while_the_last_batch_of_this_one_is_waited_for(device: Device) -> None:
    engine = Engine(device.launch)
    with ThreadPoolExecutor(2) as pool:
        calls = []
        for number in (1, 2):
            calls.append(pool.submit(engine.run, [number]))
            # The second comes when the first is long waited for.
            wait_until(lambda number=number: number in device.launched)
            time.sleep(0.05)
        assert device.waited == []
        device.done.set()
        assert [call.result()[0, 0] for call in calls] == [1, 2]


def test_no_more_are_on_the_device_than_it_has_buffers_for(device: Device) -> None:
    device.done.set()
    engine = Engine(device.launch)
    with ThreadPoolExecutor(4) as pool:
        calls = [[10 * call + each for each in range(10)] for call in range(8)]
        for call, vectors in zip(calls, pool.map(engine.run, calls), strict=True):
            assert vectors[::2, 0].tolist() == call
    assert device.most_on_device == AHEAD


def test_a_call_that_fails_leaves_the_others_alone(device: Device) -> None:
    device.done.set()
    engine = Engine(device.launch)
    with ThreadPoolExecutor(2) as pool:
        good, bad = pool.submit(engine.run, [1, 2]), pool.submit(engine.run, [3, -1, 4])
        assert good.result()[::2, 0].tolist() == [1, 2]
        with pytest.raises(ValueError, match="no vector of -1"):
            bad.result()
    assert 4 not in device.launched
    assert engine.run([5])[0, 0] == 5


def test_its_threads_end_without_work_and_others_begin_with_work(device: Device) -> None:
    device.done.set()
    engine = Engine(device.launch, idle_s=0.05)
    for number in (1, 2):
        assert engine.run([number])[0, 0] == number
        wait_until(lambda: not any(thread.name.startswith("embed-") for thread in threading.enumerate()))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
