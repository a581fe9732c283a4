"""A cluster of two kinds of nodes whose raylets, nodes and head can be killed, and which can be made whole."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from servers.ray_nodes import Node, RayNodes

CPUS = 3
KINDS = ("fetching", "embedding")
"""One node of each: a resource of which it has one, for one actor."""


class Nodes:
    """A head without CPUs, and a node of each kind."""

    def __init__(self) -> None:
        self._cluster = RayNodes()
        self._of_kind: dict[str, Node] = {}

    @property
    def address(self) -> str:
        return self._cluster.address

    @property
    def token(self) -> dict[str, str]:
        """What a driver needs in its environment."""
        return self._cluster.token

    def whole(self) -> None:
        """Start what is not there: after the head's death, all."""
        if not self._cluster.head.alive:
            self.close()
            self._cluster, self._of_kind = RayNodes(), {}
        for kind in KINDS:
            node = self._of_kind.get(kind)
            if node is None or not node.alive:
                if node is not None:
                    self._cluster.remove(node)
                self._of_kind[kind] = self._cluster.add(CPUS, **{kind: 1})

    def kill_raylet(self, rng: random.Random) -> bool:
        """SIGKILL for the raylet of a node."""
        node = self._one(rng)
        return node is not None and node.kill_raylet()

    def lose_node(self, rng: random.Random) -> bool:
        """SIGKILL for all of a node at once."""
        node = self._one(rng)
        if node is not None:
            node.lose()
        return node is not None

    def kill_head(self) -> bool:
        """SIGKILL for the head's raylet and for the process that the whole cluster asks."""
        killed = [self._cluster.head.kill_gcs(), self._cluster.head.kill_raylet()]
        return all(killed)

    def close(self) -> None:
        self._cluster.close()

    def _one(self, rng: random.Random) -> Node | None:
        alive = [node for kind, node in sorted(self._of_kind.items()) if node.alive]
        return rng.choice(alive) if alive else None


@contextmanager
def ray_nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.close()
