"""How many actors each pool gets on a cluster of known size, whether they all fit, and what a cluster that has lost
nodes still holds of them. Pure arithmetic."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from operators.base.errors import PlanError
from pipelines.run.stage import Stage

AUTO = 0
"""A value of `Resources.num_actors`: as many actors as the cluster holds."""

HEADROOM_CPUS = 2.0
"""CPUs kept free for the read and repartition tasks: pools that take every slot starve them, and the run stands
still."""

WRITE_CPUS = 0.25
"""CPUs that one write actor asks for; it compresses little and waits for storage."""

Node = Mapping[str, float]
"""All that one living node has, taken or not: Ray's name of a resource -> amount."""

LOOK_S = 2.0
"""Seconds between two looks at the nodes."""


def fit(
    stages: Sequence[Stage], *, num_cpus: float, num_gpus: float, num_writers: int, custom: Mapping[str, float] = {}
) -> tuple[Stage, ...]:
    """The stages with `AUTO` replaced. GPU pools take every GPU, and pools that ask for a custom resource all there is
    of it; the others share the CPUs that are left, equally.

    Raises `PlanError`, showing the sums, when the pools do not fit.
    """
    sized = [_fill_scarce(stage, num_gpus, custom) for stage in stages]
    taken = sum(s.resources.num_actors * s.resources.num_cpus for s in sized)
    free = num_cpus - taken - num_writers * WRITE_CPUS - HEADROOM_CPUS
    waiting = [s for s in sized if s.resources.num_actors == AUTO]
    for i, stage in enumerate(sized):
        if stage.resources.num_actors == AUTO:
            actors = max(1, int(free / len(waiting) / stage.resources.num_cpus))
            sized[i] = replace(stage, resources=replace(stage.resources, num_actors=actors))
    _check(sized, num_cpus, num_gpus, num_writers)
    _check_custom(sized, custom)
    return tuple(sized)


def _fill_scarce(stage: Stage, num_gpus: float, custom: Mapping[str, float]) -> Stage:
    wanted = stage.resources
    counts = [custom.get(name, 0.0) / amount for name, amount in wanted.custom.items()]
    counts += [num_gpus / wanted.num_gpus] if wanted.num_gpus else []
    if wanted.num_actors != AUTO or not counts:
        return stage
    return replace(stage, resources=replace(wanted, num_actors=max(1, int(min(counts)))))


def cpus_needed(stages: Sequence[Stage], num_writers: int) -> float:
    """CPU slots that the pools, the writers and the headroom ask for together."""
    pools = sum(s.resources.num_actors * s.resources.num_cpus for s in stages)
    return pools + num_writers * WRITE_CPUS + HEADROOM_CPUS


def _check_custom(stages: Sequence[Stage], custom: Mapping[str, float]) -> None:
    for name in sorted({name for stage in stages for name in stage.resources.custom}):
        asking = {s.name: s.resources.num_actors * s.resources.custom.get(name, 0.0) for s in stages}
        if sum(asking.values()) > custom.get(name, 0.0):
            told = ", ".join(f"{stage} {amount:g}" for stage, amount in asking.items() if amount)
            raise PlanError(
                f"the pools need {sum(asking.values()):g} of the resource {name!r} ({told}), the cluster has "
                f"{custom.get(name, 0.0):g}: start nodes that have it (`ray start --resources`), or ask for other ones "
                "with custom_resources in cluster.stages"
            )


def _check(stages: Sequence[Stage], num_cpus: float, num_gpus: float, num_writers: int) -> None:
    cpus = cpus_needed(stages, num_writers)
    gpus = sum(s.resources.num_actors * s.resources.num_gpus for s in stages)
    if cpus <= num_cpus and gpus <= num_gpus:
        return
    lines = [
        f"  {s.name}: {s.resources.num_actors} actors x {s.resources.num_cpus:g} CPUs"
        + (f", {s.resources.num_gpus:g} GPUs" if s.resources.num_gpus else "")
        for s in stages
    ]
    lines.append(f"  write: {num_writers} actors x {WRITE_CPUS:g} CPUs")
    lines.append(f"  read and repartition: {HEADROOM_CPUS:g} CPUs")
    raise PlanError(
        f"the pools need {cpus:g} CPUs and {gpus:g} GPUs, the cluster has {num_cpus:g} and {num_gpus:g}:\n"
        + "\n".join(lines)
        + "\n  Lower num_actors of a stage (cluster.stages), or choose another cluster file"
    )


def fit_to_nodes(stages: Sequence[Stage], nodes: Sequence[Node], num_writers: int) -> tuple[Stage, ...]:
    """The stages sized to these nodes. A number of actors that was given is the most that a pool gets, and no actor is
    counted that no single node has room for.

    Raises `PlanError` where the nodes do not hold one actor of each pool.
    """
    there: Counter[str] = Counter()
    for node in nodes:
        there.update(node)  # type: ignore[arg-type]
    rooms = {stage.name: _room(stage, nodes) for stage in stages}
    wanted = [_at_most(stage, rooms[stage.name]) for stage in stages]
    while True:
        try:
            sized = fit(
                wanted,
                num_cpus=there.get("CPU", 0.0),
                num_gpus=there.get("GPU", 0.0),
                num_writers=num_writers,
                custom=there,
            )
            break
        except PlanError:
            largest = max(wanted, key=lambda stage: stage.resources.num_actors)
            if largest.resources.num_actors <= 1:
                raise
            wanted[wanted.index(largest)] = _at_most(largest, largest.resources.num_actors - 1)
    homeless = [stage.name for stage in sized if not rooms[stage.name]]
    if homeless:
        raise PlanError(f"no node has room for an actor of {', '.join(homeless)}")
    return tuple(_at_most(stage, rooms[stage.name]) for stage in sized)


def _room(stage: Stage, nodes: Sequence[Node]) -> int:
    """Actors of this one stage that the nodes would hold, were there no other."""
    wanted = stage.resources
    asked = {"CPU": wanted.num_cpus, "GPU": wanted.num_gpus, "memory": wanted.memory_bytes or 0, **wanted.custom}
    asked = {name: amount for name, amount in asked.items() if amount}
    return sum(int(min(node.get(name, 0.0) / amount for name, amount in asked.items())) for node in nodes)


def _at_most(stage: Stage, actors: int) -> Stage:
    """The stage with so many actors at most, one at least; one of `AUTO` as it is."""
    wanted = stage.resources
    if wanted.num_actors <= max(1, actors):
        return stage
    return replace(stage, resources=replace(wanted, num_actors=max(1, actors)))


class LostNodes:
    """The pools of a run on a cluster that may lose nodes for good, and whether it has.

    A block that was given to an actor stays with it: while a lost actor waits for a place that no node has, the blocks
    in its hands wait too, and in the end all others behind them.
    """

    def __init__(self, wanted: Sequence[Stage], sized: Sequence[Stage], *, num_writers: int, wait_s: float) -> None:
        """`wanted`: the stages as they are configured, `sized` to the cluster as it was; `wait_s`: how long another
        node is waited for."""
        self.sized = tuple(sized)
        self._wanted, self._num_writers, self._wait_s = tuple(wanted), num_writers, wait_s
        self._since: float | None = None
        self._looked = float("-inf")
        self._why: str | None = None
        self._ending = False
        self.any = False
        """Whether an execution has been ended for it."""

    def look(self, now: float, waiting: int, nodes: Callable[[], Sequence[Node]]) -> None:
        """Is told again and again how many actors of an execution wait for a place, or to be ready in one. `nodes`,
        those that live now, is asked only where there are any."""
        if not waiting:
            self._since = None
        elif not self._ending and now - self._looked >= LOOK_S:
            self._looked = now
            self._judge(now, nodes())

    def why(self) -> str | None:
        """Why the present execution should end for the next one to go on with what is left, once; None where it should
        not."""
        if self._why is None:
            return None
        self._ending = self.any = True
        why, self._why = self._why, None
        return why

    def resize(self, nodes: Sequence[Node]) -> None:
        """Size the pools to these nodes, for an execution that begins now."""
        self._since, self._why, self._ending = None, None, False
        try:
            self.sized = fit_to_nodes(self._wanted, nodes, self._num_writers)
        except PlanError:
            # What nodes there are may change until the actors start; that they never do, is seen by the run.
            return

    def _judge(self, now: float, nodes: Sequence[Node]) -> None:
        if _holds(self.sized, nodes, self._num_writers):
            # Those that wait are loading, in a place that they have.
            self._since = None
            return
        self._since = now if self._since is None else self._since
        if now - self._since < self._wait_s:
            return
        try:
            smaller = fit_to_nodes(self._wanted, nodes, self._num_writers)
        except PlanError:
            # Nothing can go on without a node that comes back.
            return
        pools = ", ".join(
            f"{new.name} {new.resources.num_actors} of {old.resources.num_actors}"
            for old, new in zip(self.sized, smaller, strict=True)
        )
        self._why = (
            f"nodes were lost, and for {self._wait_s:g} s (cluster.lost_node_wait_s) none has taken their place: the "
            f"run goes on with the actors that the others hold ({pools})"
        )


def _holds(sized: Sequence[Stage], nodes: Sequence[Node], num_writers: int) -> bool:
    try:
        return fit_to_nodes(sized, nodes, num_writers) == tuple(sized)
    except PlanError:
        return False
