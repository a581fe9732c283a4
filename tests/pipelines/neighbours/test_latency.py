"""Queries are timed one after the other, up to a limit, and told by two figures."""

import time

import numpy as np
import pytest

from pipelines.neighbours.latency import latency, milliseconds


def test_each_query_once_in_order() -> None:
    asked: list[int] = []
    taken = milliseconds(asked.append, 5)
    assert (asked, len(taken), min(taken) >= 0) == ([0, 1, 2, 3, 4], 5, True)


def test_no_more_after_a_time() -> None:
    assert 1 <= len(milliseconds(lambda _: time.sleep(0.02), 100, most_s=0.05)) <= 3
    assert milliseconds(lambda _: None, 0) == []


def test_the_median_and_the_slowest_of_a_hundred() -> None:
    assert latency(np.arange(101).tolist()) == pytest.approx((50, 99))
