"""A command, watched from outside: the peak memory of its processes, and what else the machine was busy with; and
stopped for as long as something else is to have the machine."""

import contextlib
import mmap
import os
import resource
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from pipelines.balance.core_seconds import seconds_of_tree

SAMPLE_S = 1.0
STEP_BYTES = 8 << 20
"""By so much more than ever before must be resident for PSS to be read anew: the kernel looks at every page for it, 20
ms a GiB. Read each second it took 0.1 of two cores from the runs that were measured."""
APART_S = 10.0
"""Between stops, the least."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Watched:
    """`driver` and `workers` (all other processes that it started, Ray's own too) add up to `peak` at its moment."""

    output: str
    seconds: float
    """By the clock, from its start to its end."""
    core_seconds: float
    """CPU seconds of all its processes. Of those that end the last second may be missing, unless they are waited
    for."""
    peak_bytes: int
    driver_bytes: int
    workers_bytes: int
    other_cores: float
    """Cores that others kept busy on average, and this process with its looks: the noise in a run's figures. Not of
    the seconds for which it was stopped."""
    stopped_seconds: float
    """Of `seconds`, those for which all its processes were stopped."""


class Stops:
    """Stops a tree of processes at some of the lines that it writes to stderr, for as long as other work takes."""

    def __init__(self, at: Callable[[str], bool], work: Callable[[], object]) -> None:
        self._at, self._work = at, work
        self._ended = -APART_S
        self.seconds = self.busy_seconds = 0.0

    def hear(self, line: str, pid: int) -> None:
        if time.monotonic() - self._ended < APART_S or not self._at(line):
            return
        started, busy_before = time.monotonic(), _busy_seconds()
        stopped: set[int] = set()
        try:
            # Again for those that were started in the meantime.
            while new := seconds_of_tree(pid).keys() - stopped:
                _signal(new, signal.SIGSTOP)
                stopped |= new
            started, busy_before = time.monotonic(), _busy_seconds()
            self._work()
        finally:
            self.seconds += time.monotonic() - started
            self.busy_seconds += _busy_seconds() - busy_before
            _signal(stopped, signal.SIGCONT)
            self._ended = time.monotonic()


def _signal(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class PeakMemory:
    """The most memory that processes have together, by looks at them."""

    def __init__(self) -> None:
        self.bytes = self.driver_bytes = 0
        self._resident = -STEP_BYTES

    def look(self, members: Collection[int], driver: int) -> bool:
        """Whether it was worth a reading: what is resident, each process for itself, is quickly read, and rises with
        every peak."""
        resident = sum(map(_resident, members))
        if resident < self._resident + STEP_BYTES:
            return False
        self._resident = resident
        memory = {pid: _pss(pid) for pid in members}
        if sum(memory.values()) > self.bytes:
            self.bytes, self.driver_bytes = sum(memory.values()), memory.get(driver, 0)
        return True


def run(command: list[str], stops: Stops | None = None, sample_s: float = SAMPLE_S) -> Watched:
    """Runs the command to its end, with a look at its processes every `sample_s`; memory is the sum of PSS, shared
    pages divided among those that share them.

    Raises `RuntimeError` with the command's stderr when it fails, and what the work of `stops` raised.
    """
    peak = PeakMemory()
    tree_s: dict[int, float] = {}
    busy_before, clock_before, waited_before = _busy_seconds(), time.monotonic(), _waited_seconds()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output: list[str] = []
    said: list[str] = []
    failed: list[Exception] = []

    def hear() -> None:
        assert process.stderr
        for line in process.stderr:
            said.append(line)
            if stops and not failed:
                try:
                    stops.hear(line, process.pid)
                except Exception as error:
                    failed.append(error)

    assert process.stdout
    readers = [threading.Thread(target=output.extend, args=(process.stdout,)), threading.Thread(target=hear)]
    for reader in readers:
        reader.start()
    # `Popen.wait` would look twenty times a second.
    ended, descriptor = select.poll(), os.pidfd_open(process.pid)
    ended.register(descriptor, select.POLLIN)
    while process.poll() is None:
        # Looked at again and again: nobody waits for some of Ray's processes, and what they have spent goes with them.
        members = {pid: spent.own for pid, spent in seconds_of_tree(process.pid).items()}
        tree_s |= members
        peak.look(members, _driver(process.pid))
        ended.poll(sample_s * 1000)
    os.close(descriptor)
    for reader in readers:
        reader.join()
    if failed:
        raise failed[0]
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(said)[-4000:]}")
    seconds = time.monotonic() - clock_before
    core_s = max(sum(tree_s.values()), _waited_seconds() - waited_before)
    stopped_s, busy_stopped_s = (stops.seconds, stops.busy_seconds) if stops else (0.0, 0.0)
    others = max(_busy_seconds() - busy_before - busy_stopped_s - core_s, 0.0)
    return Watched(
        output="".join(output),
        seconds=seconds,
        core_seconds=core_s,
        peak_bytes=peak.bytes,
        driver_bytes=peak.driver_bytes,
        workers_bytes=peak.bytes - peak.driver_bytes,
        other_cores=others / (seconds - stopped_s),
        stopped_seconds=stopped_s,
    )


def _driver(pid: int) -> int:
    """The command, or where that watches a fork of itself, the fork."""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/cmdline").read_bytes() == command:
                return int(child)
    return pid


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _waited_seconds() -> float:
    """CPU seconds of the children that have ended and of theirs, as far as they were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy_seconds() -> float:
    """Of all cores, since the machine started."""
    user, nice, system = Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    return (int(user) + int(nice) + int(system)) / _TICKS
