"""Processes below a driver, found by parentage alone: other Ray clusters on the machine are none of ours."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from end_to_end.command import end
from servers.images import ImageServer


def descendants(pid: int) -> dict[int, str]:
    """Pid to command line, of all processes below this one."""
    there = _processes()
    below, fresh = set[int](), {pid}
    while fresh:
        fresh = {child for child, (parent, _, _) in there.items() if parent in fresh} - below
        below |= fresh
    return {child: there[child][2] for child in below if child in there}


def of_session(leader: int) -> dict[int, str]:
    """Pid to command line, of all other processes in the session that this one began."""
    return {pid: text for pid, (_, session, text) in _processes().items() if session == leader != pid}


def _processes() -> dict[int, tuple[int, int, str]]:
    """Pid -> (parent, session, command line)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[int(folder.name)] = (int(fields[1]), int(fields[3]), command)
    return found


def driver_of(process: "subprocess.Popen[str]") -> int:
    """The pid of the driver: the child of the process that was started, which only watches it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.02)
    raise AssertionError(f"{process.args} has started no driver")


def wait_for_descendant(pid: int, part: str, timeout: float = 120.0) -> int:
    """The pid of a process below `pid` whose command line holds the text."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for child, command in sorted(descendants(pid).items()):
            if part in command:
                return child
        time.sleep(0.1)
    raise AssertionError(f"no process {part!r} below {pid}: {descendants(pid)}")


def wait_until(condition: Callable[[], object], timeout: float = 120.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout:g} s"
        time.sleep(0.05)


def kill_driver_at(server: ImageServer, process: "subprocess.Popen[str]", request: int, delay_s: float = 0.0) -> None:
    """SIGKILL for the driver when the request is in; whatever Ray leaves of it is gone on return."""
    below: dict[int, str] = {}

    def kill() -> None:
        time.sleep(delay_s)
        below.update(descendants(process.pid))
        process.kill()

    server.act_at(request, kill)
    assert end(process).code == -signal.SIGKILL
    kill_leftovers(below)


def kill_leftovers(commands: dict[int, str], grace_s: float = 15.0) -> None:
    """Those of a killed driver's processes that do not end by themselves are killed; none is left behind."""
    deadline = time.monotonic() + grace_s
    while _alive(commands) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in _alive(commands):
        os.kill(pid, signal.SIGKILL)


def _alive(commands: dict[int, str]) -> list[int]:
    alive = []
    for pid, command in commands.items():
        try:
            now = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # A worker's title changes with its task; another program's would not begin like this.
        if now and (now == command or now.startswith("ray::")):
            alive.append(pid)
    return alive
