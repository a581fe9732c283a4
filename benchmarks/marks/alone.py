"""Measurements in a process of their own, held to one core and one thread: nothing of the run beside may disturb them.

`python -m benchmarks.marks.alone NAME` reads a request (JSON) on stdin and answers on stdout.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.turns import FailedProcess


def ask(name: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """What `benchmarks.marks.NAME.answer` gives. Raises `FailedProcess`."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.marks.alone", name],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise FailedProcess(f"{name}: {done.stderr.strip()[-1000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def rounds_of(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def main(name: str) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(json.dumps(import_module(f"benchmarks.marks.{name}").answer(json.load(sys.stdin))))


if __name__ == "__main__":
    main(sys.argv[1])
