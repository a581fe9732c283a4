"""The Ray that is started on this machine: what it is given, and that it is one of its own."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from end_to_end.processes import descendants, wait_until
from jobs.session.ray_cluster import ray_cluster, size_here
from operators.base.errors import PlanError
from operators.fetch import FetchConfig
from pipelines.run.cluster import ClusterConfig
from pipelines.run.stage import Resources, Stage


def stage(num_actors: int = 0, num_cpus: float = 1, num_gpus: float = 0) -> Stage:
    resources = Resources(num_actors=num_actors, num_cpus=num_cpus, num_gpus=num_gpus)
    return Stage(name="fetch", operators=(FetchConfig(),), resources=resources)


def cluster(**values: object) -> ClusterConfig:
    return ClusterConfig.model_validate({"stages": [{"name": "fetch", "operators": ["fetch"]}], **values})


def test_every_cpu_goes_to_the_pools_beside_readers_and_writers() -> None:
    (sized,) = size_here(cluster(num_cpus=6, num_writers=2), (stage(),))
    assert sized.resources.num_actors == 6


def test_pools_that_do_not_fit_are_refused_before_anything_starts() -> None:
    with pytest.raises(PlanError, match="the pools need 9"):
        size_here(cluster(num_cpus=2), (stage(num_actors=7),))


@pytest.mark.parametrize(
    ("visible", "expected"), [(None, 4), ("0,1", 2), ("3", 1), ("", 0), ("-1", 0), ("2,-1,3", 1), ("0,1,2,3,4,5", 4)]
)
def test_only_visible_gpus_count(visible: str | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.accelerators import NvidiaGPUAcceleratorManager

    from jobs.session.ray_cluster import _gpus_here

    monkeypatch.setattr(NvidiaGPUAcceleratorManager, "get_current_node_num_accelerators", lambda: 4)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _gpus_here() == expected


def test_a_ray_address_in_the_environment_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_idle_worker_killing_time_threshold_ms", "200")
    with ray_cluster(cluster(num_cpus=1, object_store_bytes=80 << 20), (stage(num_actors=1),), verbose=False) as sized:
        import ray

        assert sized[0].resources.num_actors == 1
        assert ray.cluster_resources()["CPU"] == 4
        # Its processes listen on the loopback address alone, and ask for a token.
        listening = _listening(os.getpid(), *descendants(os.getpid()))
        assert len(listening) >= 5
        assert {address for address in listening if not _is_loopback(address)} == set()
        assert os.environ["RAY_AUTH_MODE"] == "token"
        commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in descendants(os.getpid())]
        assert any("raylet" in command for command in commands)
        assert [command for command in commands if "monitor.py" in command] == []
        # Those that Ray starts ahead have nothing to do here, and are not kept for it.
        wait_until(lambda: not _idle(), timeout=20)


def test_a_ray_that_does_not_start_is_said_in_one_sentence() -> None:
    """In a process of its own: what a start that failed leaves in Ray's module is not for the tests that follow."""
    code = (
        "from jobs.session.ray_cluster import ray_cluster\n"
        "from pipelines.run.cluster import ClusterConfig\n"
        "config = ClusterConfig.model_validate({'num_cpus': 1, 'stages': [{'name': 'a', 'operators': ['fetch']}]})\n"
        "try:\n"
        "    ray_cluster(config, (), verbose=False).__enter__()\n"
        "except OSError as error:\n"
        "    print(error)"
    )
    # Where no folder can be made.
    environment = {**os.environ, "RAY_TMPDIR": "/proc"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("Ray did not start on this machine: ")
    assert "--set cluster.executor=local" in done.stdout


def _idle() -> list[int]:
    """Processes of Ray's that wait for tasks."""
    found = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            found += [pid] if Path(f"/proc/{pid}/cmdline").read_text().startswith("ray::IDLE") else []
    return found


def _listening(*pids: int) -> list[str]:
    """Addresses, as the kernel writes them in hexadecimal, at which a TCP socket of one of the processes listens."""
    inodes = set[str]()
    for pid in pids:
        with contextlib.suppress(OSError):
            for end in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.add(os.readlink(end).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes]


def _is_loopback(address: str) -> bool:
    return address in ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
