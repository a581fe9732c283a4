"""How long one query takes while no other runs."""

import time
from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

import numpy as np


class Latency(NamedTuple):
    """The latency of single queries, in milliseconds."""

    p50_ms: float
    p99_ms: float


def milliseconds(search: Callable[[int], object], queries: int, *, most_s: float = inf) -> list[float]:
    """Milliseconds of queries 0, 1, …, asked one after the other; none is begun once they took `most_s` together."""
    taken: list[float] = []
    while len(taken) < queries and sum(taken) < most_s * 1000:
        started = time.perf_counter()
        search(len(taken))
        taken.append((time.perf_counter() - started) * 1000)
    return taken


def latency(taken: Sequence[float]) -> Latency:
    """The median and the 99th percentile of the milliseconds of at least one query."""
    p50, p99 = np.percentile(taken, [50, 99])
    return Latency(float(p50), float(p99))
