"""What is free of memory: the machine's, or what a container leaves, in both versions of control groups."""

from pathlib import Path

from operators.base.memory_limit import available_memory

GIB = 1 << 30


def write(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


MACHINE = {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:   {8 * GIB // 1024} kB"}


def test_the_tightest_limit_counts(tmp_path: Path) -> None:
    root = write(tmp_path, {**MACHINE, "proc/self/cgroup": "0::/job/step"})
    assert available_memory(root) == 8 * GIB
    group = {"memory.max": 4 * GIB, "memory.current": 3 * GIB, "memory.stat": f"anon 5\ninactive_file {GIB}"}
    write(root / "sys/fs/cgroup/job", group)
    assert available_memory(root) == 2 * GIB
    write(root / "sys/fs/cgroup/job/step", {"memory.max": "max", "memory.current": 3 * GIB})
    assert available_memory(root) == 2 * GIB
    write(root / "sys/fs/cgroup/job", {"memory.current": 9 * GIB})
    assert available_memory(root) == 0


def test_version_one_within_a_container_whose_path_is_the_hosts(tmp_path: Path) -> None:
    root = write(tmp_path, {**MACHINE, "proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/0123\n0::/"})
    group = {"memory.limit_in_bytes": 2 * GIB, "memory.usage_in_bytes": GIB, "memory.stat": "total_inactive_file 7"}
    write(root / "sys/fs/cgroup/memory", group)
    assert available_memory(root) == GIB + 7
    write(root / "sys/fs/cgroup/memory", {"memory.limit_in_bytes": 9223372036854771712})
    assert available_memory(root) == 8 * GIB


def test_where_nothing_is_said_nothing_is_known(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None
    assert (available_memory() or 0) > 1 << 20
