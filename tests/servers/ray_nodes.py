"""A Ray cluster of nodes that `ray start` has begun, each a process of this machine with an address of its own in
127.0.0.0/8: nodes join it and are lost."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from end_to_end.processes import descendants, kill_leftovers, of_session

_RAY = Path(sys.executable).parent / "ray"
STARTS = 4
"""How often a node is started before it is given up: Ray waits 30 s for it, too little on a busy machine."""
OBJECT_STORE_BYTES = 150_000_000


class RayNodeError(RuntimeError):
    """A node did not start."""


@dataclass(frozen=True)
class Node:
    """`ray start --block`, which is the parent of all that runs on its node."""

    process: "subprocess.Popen[bytes]"
    is_head: bool = False

    @property
    def alive(self) -> bool:
        """Whether its raylet works, and on a head the process that the whole cluster asks."""
        here = self.process.poll() is None and self._pid_of("raylet/raylet") is not None
        return here and (not self.is_head or self._pid_of("gcs_server") is not None)

    def lose(self) -> None:
        """As a machine whose power is gone: SIGKILL for all of it at once."""
        there = self._processes()
        for pid in (self.process.pid, *there):
            _kill(pid)
        self.process.wait()
        kill_leftovers(there, grace_s=0)

    def kill_raylet(self) -> bool:
        """SIGKILL for the raylet alone: its workers end by themselves."""
        pid = self._pid_of("raylet/raylet")
        return pid is not None and _kill(pid)

    def kill_gcs(self) -> bool:
        """SIGKILL for the process that the whole cluster asks, of the head."""
        pid = self._pid_of("gcs_server")
        return pid is not None and _kill(pid)

    def close(self) -> None:
        there = self._processes()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        kill_leftovers({**there, **self._processes()}, grace_s=5)

    def _pid_of(self, part: str) -> int | None:
        return next((pid for pid, command in self._processes().items() if part in command), None)

    def _processes(self) -> dict[int, str]:
        """Those below it and, once it is gone itself, those that are left of its session."""
        return {**of_session(self.process.pid), **descendants(self.process.pid)}


class RayNodes:
    """A head without CPUs, and the nodes that were added to it."""

    def __init__(self) -> None:
        # In the usual folder it would leave a note that later starts of Ray go by; the path of a socket is short.
        self._folder = Path(tempfile.mkdtemp(prefix="ray"))
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **self.token}
        self._environment.pop("RAY_ADDRESS", None)
        self._environment.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)
        self._last = 0
        self.nodes: list[Node] = []
        try:
            self.head = self._start_head()
        except RayNodeError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def add(self, num_cpus: int, **resources: float) -> Node:
        """A node that has joined, with these custom resources."""
        node = self._start(f"--address={self.address}", num_cpus, "--resources", json.dumps(resources))
        self.nodes.append(node)
        return node

    def remove(self, node: Node) -> None:
        """One that is dead in part: the rest of it ends."""
        node.close()
        self.nodes.remove(node)

    def close(self) -> None:
        for node in (*self.nodes, self.head):
            node.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_head(self) -> Node:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        ports = (f"--port={port}", f"--temp-dir={self._folder}")
        return self._start("--head", 0, "--include-dashboard=false", *ports)

    def _start(self, where: str, num_cpus: int, *more: str) -> Node:
        self._last += 1
        limits = (f"--num-cpus={num_cpus}", "--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}")
        ports = ("--min-worker-port=0", "--max-worker-port=0", f"--node-ip-address=127.0.0.{self._last}")
        command = [str(_RAY), "start", where, "--block", *limits, *ports, *more]
        said = ""
        for _ in range(STARTS):
            process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            said = _until_started(process)
            if said.endswith("Ray runtime started."):
                return Node(process, is_head=where == "--head")
            Node(process).close()
        raise RayNodeError(said[-2000:])


def _until_started(process: "subprocess.Popen[bytes]") -> str:
    """What it says until it has started or is over."""
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line.decode()
        if "Ray runtime started." in said:
            return said[: said.index("started.") + len("started.")]
    return said


def _kill(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


@contextmanager
def ray_nodes() -> Iterator[RayNodes]:
    nodes = RayNodes()
    try:
        yield nodes
    finally:
        nodes.close()
