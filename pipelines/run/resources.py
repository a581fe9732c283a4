"""How many actors each pool gets on a cluster of known size, and whether they all fit. Pure arithmetic."""

from collections.abc import Mapping, Sequence
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
