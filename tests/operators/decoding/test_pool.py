"""Decode processes side by side: each call has one of its own, and no more are started than calls need."""

import threading

import numpy as np

from operators.decode import DecodeOptions, image_decoder
from operators.decoding.pool import DecodePool
from tests.operators.decoding.test_process import PREPROCESS, png


def test_calls_side_by_side_take_processes_of_their_own_and_give_what_one_gives() -> None:
    pool = image_decoder(DecodeOptions(), {"pixels": PREPROCESS}, None, 3)
    assert isinstance(pool, DecodePool)
    try:
        alone = pool.decode([png(40)])
        assert [process.pid is not None for process in pool.processes] == [False, False, True]
        found: list[np.ndarray] = []
        slow = png(40, 3000)
        threads = [threading.Thread(target=lambda: found.append(pool.decode([slow]).pixels[0])) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [process.pid is not None for process in pool.processes] == [False, True, True]
        assert len(found) == 2
        assert all(np.array_equal(each, alone.pixels[0]) for each in found)
    finally:
        pool.close()
    assert [process.pid for process in pool.processes] == [None, None, None]
