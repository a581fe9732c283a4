"""The CPU seconds of this process and of all that it has started, those that are still there included."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class SpentSeconds(NamedTuple):
    """CPU seconds of one process so far."""

    own: float
    waited: float
    """Of its children that have ended and were waited for, and of theirs."""


def core_seconds() -> float | None:
    """Read from /proc; None where there is none. `os.times()` leaves out children until they have ended."""
    if not Path("/proc/self/stat").exists():
        return None
    return sum(sum(each) for each in seconds_of_tree(os.getpid()).values())


def seconds_of_tree(root: int) -> dict[int, SpentSeconds]:
    """Process -> what it has spent, of `root` and of all that are there and descend from it."""
    spent: dict[int, SpentSeconds] = {root: SpentSeconds(0, 0)}
    parents: dict[int, int] = {}
    # Not through `Path`, which takes three times as long: benchmarks look every second.
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            # It has ended meanwhile.
            continue
        pid = int(name)
        user, system, waited_user, waited_system = map(int, fields[11:15])
        parents[pid] = int(fields[1])
        spent[pid] = SpentSeconds((user + system) / _TICKS, (waited_user + waited_system) / _TICKS)
    own = {root}
    while grown := {pid for pid, parent in parents.items() if parent in own and pid not in own}:
        own |= grown
    return {pid: spent[pid] for pid in own}
