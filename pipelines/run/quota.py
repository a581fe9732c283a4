"""One quota for all API operators of a run: in this process, or in a Ray actor that every worker asks."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from operators.api.provider import quota_limits, usd_per_1000_images
from operators.api.quota import Grant, LocalQuota, Quota, QuotaLimits, QuotaState
from operators.base.errors import PlanError
from operators.embed_api import ApiEmbedConfig
from pipelines.run.pipeline import Pipeline
from pipelines.run.stage import Stage


class RayQuota(Quota):
    """The name of the one actor, through which any process of the Ray cluster calls it. Pickles as the name alone."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._found: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_name": self._name, "_found": None}

    def exchange(self, wanted: int, unbilled: int) -> Grant:
        return self._call("exchange", wanted, unbilled)  # type: ignore[no-any-return]

    def refuse(self, reason: str) -> None:
        self._call("refuse", reason)

    def state(self) -> QuotaState:
        return self._call("state")  # type: ignore[no-any-return]

    def _call(self, method: str, *arguments: object) -> Any:
        import ray
        from ray.exceptions import RayError

        try:
            if self._found is None:
                self._found = ray.get_actor(self._name)
            return ray.get(getattr(self._found, method).remote(*arguments))
        except (RayError, ValueError) as error:
            raise OSError(f"the actor that counts API requests cannot be reached: {error}") from error


@contextmanager
def ray_quota(limits: QuotaLimits) -> Iterator[RayQuota]:
    """Gives a quota that lives while entered. Ray must be initialised.

    Its actor lives on this node and is not restarted: with a lost count the run could spend again. Where it dies,
    whoever asks gets an `OSError`, and the run ends.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = f"pixlake-quota-{secrets.token_hex(8)}"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(LocalQuota).options(name=name, num_cpus=0, scheduling_strategy=here).remote(limits)
    try:
        ray.get(actor.state.remote())
        yield RayQuota(name)
    finally:
        ray.kill(actor)


@dataclass(frozen=True)
class Exhausted:
    """Tells whether a quota grants nothing more, in whatever process it is unpickled."""

    quota: Quota

    def __call__(self) -> bool:
        return self.quota.state().halted


def limits_of(stages: Sequence[Stage]) -> QuotaLimits | None:
    """The limits for the API operators of these stages together; None where there is none."""
    found = api_operators(stages)
    return quota_limits(found[0].model, found[0].api) if found else None


def api_operators(stages: Sequence[Stage]) -> list[ApiEmbedConfig]:
    return [o for stage in stages for o in stage.operators if isinstance(o, ApiEmbedConfig)]


def check_pace(stages: Sequence[Stage], *, block_rows: int, no_progress_timeout_s: float) -> None:
    """Raises `PlanError` where the quota lets no block end before Ray would take the run for stuck.

    The actors share the rate, so their first blocks end at about the same time; half of the timeout is for retries. The
    stages must be sized.
    """
    limits = limits_of(stages)
    if limits is None:
        return
    blocks = sum(s.resources.num_actors * s.resources.concurrent_blocks * len(api_operators([s])) for s in stages)
    seconds_a_row = blocks * 60.0 / limits.requests_per_minute
    if block_rows * seconds_a_row <= no_progress_timeout_s / 2:
        return
    fitting = max(int(no_progress_timeout_s / 2 / seconds_a_row), 1)
    raise PlanError(
        f"{blocks} blocks of {block_rows} rows at a time take {block_rows * seconds_a_row:,.0f} s at "
        f"{limits.requests_per_minute:g} requests a minute, too near to cluster.no_progress_timeout_s = "
        f"{no_progress_timeout_s:g}: set cluster.block_rows={fitting}, fewer actors, or api.requests_per_minute to "
        "what the project's quota allows"
    )


def spend_usd(pipeline: Pipeline, images: int) -> float:
    """The price of so many images in US dollars."""
    operator = api_operators(pipeline.stages)[0]
    return round(images * usd_per_1000_images(operator.model, operator.api) / 1000, 6)


def with_quota(pipeline: Pipeline, quota: Quota) -> Pipeline:
    """The pipeline with one quota for its API operators; source and stages stop where the quota ends.

    Stages after the last API operator work on everything that reaches them, since it is paid for.
    """
    last = max(number for number, stage in enumerate(pipeline.stages) if api_operators([stage]))
    metered = tuple(_stage_with_quota(stage, quota) for stage in pipeline.stages[: last + 1])
    source = replace(pipeline.source, halted=Exhausted(quota))
    return replace(pipeline, source=source, stages=metered + pipeline.stages[last + 1 :])


def _stage_with_quota(stage: Stage, quota: Quota) -> Stage:
    operators = tuple(
        o.model_copy(update={"quota": quota}) if isinstance(o, ApiEmbedConfig) else o for o in stage.operators
    )
    return replace(stage, operators=operators, halted=Exhausted(quota))
