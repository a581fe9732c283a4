"""What fits into the memory of this machine, said before anything is read."""

from pathlib import Path

from operators.base.errors import UserError

_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Of a container, and what of it is taken: control groups of version 2, and of version 1."""


def free_memory() -> int:
    """Bytes that this process could take: what Linux calls available, or what a container leaves of its limit."""
    available = next(
        int(line.split()[1]) << 10
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    for limit, taken in _LIMITS:
        if Path(limit).exists() and Path(taken).exists():
            told = Path(limit).read_text().strip()
            if told != "max":
                available = min(available, max(int(told) - int(Path(taken).read_text()), 0))
    return available


def check_memory(needed: int, what: str, instead: str) -> None:
    """Raises `UserError` where `needed` bytes are more than `free_memory`."""
    free = free_memory()
    if needed > free:
        raise UserError(
            f"{what} take {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free on this machine: "
            f"{instead}"
        )
