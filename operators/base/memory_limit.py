"""How much memory this process may still take: what the machine has free, or what its container leaves of a limit."""

from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60
"""Version 1 of control groups writes a number near 2^63 for no limit."""


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can be had before the kernel kills a process: `MemAvailable`, or less where a control group of this
    process or one above it has a limit (Docker, Kubernetes, Slurm). None where Linux does not say it.

    Page cache that a group may drop counts as free.
    """
    found = [_machine(root), *_groups(root)]
    known = [each for each in found if each is not None]
    return max(0, min(known)) if known else None


def _machine(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable" and value.split()[0].isdecimal():
            return int(value.split()[0]) * 1024
    return None


def _groups(root: Path) -> Iterator[int]:
    """What each control group above this process leaves, for those with a limit."""
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            names, top = ("memory.max", "memory.current", "inactive_file"), root / "sys/fs/cgroup"
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = root / "sys/fs/cgroup/memory"
        else:
            continue
        folder = top / path.lstrip("/")
        # Within a container the path is the host's, and its own group is the top.
        for each in (folder, *folder.parents):
            limit, used = _number(each / names[0]), _number(each / names[1])
            if limit is not None and used is not None and limit < _UNLIMITED:
                yield limit - used + _stat(each / "memory.stat", names[2])
            if each == top:
                break


def _stat(path: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in _lines(path) if line.split()[:1] == [name]), 0)


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
