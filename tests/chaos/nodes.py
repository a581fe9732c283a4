"""A Ray cluster of three nodes on this machine, whose raylets and head can be killed, and which can be made whole."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WORKERS, CPUS = 2, 4
STARTS = 4
"""How often a node is started before it is given up."""


class Nodes:
    """A head without CPUs, and workers of `CPUS` each."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # Ray takes this machine for 127.0.0.1 then, here and in a driver: no node listens elsewhere, and a driver looks
        # for its node there.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        self._cluster: Any = None

    @property
    def address(self) -> str:
        address: str = self._cluster.gcs_address
        return address

    def whole(self) -> None:
        """Start what is not there: after the head's death, all."""
        from ray.cluster_utils import Cluster

        if self._cluster is not None and self._cluster.head_node.any_processes_alive() and self._head_alive():
            for node in list(self._cluster.worker_nodes):
                if not _raylet_alive(node):
                    self._cluster.remove_node(node, allow_graceful=False)
        else:
            self.close()
            self._cluster = Cluster()
            self._add(num_cpus=0, include_dashboard=False)
        while len(self._cluster.worker_nodes) < WORKERS:
            self._add(num_cpus=CPUS, object_store_memory=200 << 20)

    def _add(self, **node: Any) -> None:
        """Start a node, again where Ray has lost patience with it: it waits 30 s, too little on a busy machine."""
        for left in reversed(range(STARTS)):
            try:
                self._cluster.add_node(node_ip_address="127.0.0.1", **node)
            except Exception:
                if not left:
                    raise
            else:
                return

    def kill_raylet(self, rng: random.Random) -> bool:
        """SIGKILL for the raylet of a worker node."""
        alive = [node for node in self._cluster.worker_nodes if _raylet_alive(node)]
        alive.sort(key=lambda node: _raylet(node).pid)
        if alive:
            os.kill(_raylet(rng.choice(alive)).pid, signal.SIGKILL)
        return bool(alive)

    def kill_head(self) -> bool:
        """SIGKILL for the head's raylet and for the process that the whole cluster asks."""
        head = self._cluster.head_node
        for name in ("gcs_server", "raylet"):
            for each in head.all_processes.get(name, []):
                os.kill(each.process.pid, signal.SIGKILL)
        return True

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.shutdown()
            self._cluster = None

    def _head_alive(self) -> bool:
        head = self._cluster.head_node
        return all(
            each.process.poll() is None
            for name in ("gcs_server", "raylet")
            for each in head.all_processes.get(name, [])
        )


def _raylet(node: Any) -> Any:
    [raylet] = node.all_processes["raylet"]
    return raylet.process


def _raylet_alive(node: Any) -> bool:
    there = node.all_processes.get("raylet", [])
    return bool(there) and all(each.process.poll() is None for each in there)


@contextmanager
def ray_nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.close()
