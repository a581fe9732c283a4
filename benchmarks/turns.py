"""What is compared, in turn: each side once a round, so that whatever else the machine does falls on all of them."""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_SAID = 2000


class FailedProcess(Exception):
    """A command of a benchmark ended with an error; holds the end of what it said."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One process, from exec to exit."""

    seconds: float
    cpu_seconds: float
    """Its own and that of all processes below it that were waited for; those of Ray's that outlive it are not in it."""
    output: str
    """Standard output."""


def timed(command: Sequence[str], *, folder: Path | None = None) -> Timed:
    """Runs a command to its end. Raises `FailedProcess`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if process.returncode:
        said = (texts[1].strip() or texts[0].strip())[-_SAID:]
        raise FailedProcess(f"{' '.join(command)} ended with {process.returncode}: {said}")
    return Timed(seconds=seconds, cpu_seconds=used.ru_utime + used.ru_stime, output=texts[0])


def in_turn(sides: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each side gave, a round after the other; another side begins each round."""
    names = list(sides)
    found: dict[str, list[T]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(sides[name]())
    return found


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Of the best of two sides, and of their medians."""

    best: float
    median: float


def ratio(ours: Sequence[float], theirs: Sequence[float], *, best: Callable[[Sequence[float]], float] = min) -> Ratio:
    """`best` is `min` for times and `max` for rates."""
    return Ratio(best=best(ours) / best(theirs), median=statistics.median(ours) / statistics.median(theirs))
