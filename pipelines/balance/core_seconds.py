"""The CPU seconds of this process and of all that it has started, those that are still there included."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def core_seconds() -> float | None:
    """Read from /proc; None where there is none. `os.times()` leaves out children until they have ended."""
    if not Path("/proc/self/stat").exists():
        return None
    ticks: dict[int, int] = {}
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            # It has ended meanwhile.
            continue
        pid = int(stat.parent.name)
        # utime, stime and those of children that were waited for.
        parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    own = {os.getpid()}
    waiting = list(own)
    while waiting:
        parent = waiting.pop()
        below = [pid for pid, of in parents.items() if of == parent and pid not in own]
        own.update(below)
        waiting += below
    return sum(ticks.get(pid, 0) for pid in own) / _TICKS
