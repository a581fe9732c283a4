"""Actors per pool on a cluster of known size, and refusal with the sums."""

import pytest

from operators.base.errors import PlanError
from pipelines.run.resources import AUTO, cpus_needed, fit
from pipelines.run.stage import Resources, Stage


def stage(name: str, actors: int = AUTO, cpus: float = 1.0, gpus: float = 0.0) -> Stage:
    return Stage(name=name, operators=(), resources=Resources(num_actors=actors, num_cpus=cpus, num_gpus=gpus))


def actors(stages: tuple[Stage, ...]) -> list[int]:
    return [s.resources.num_actors for s in stages]


def test_a_gpu_pool_takes_every_gpu_and_the_rest_decodes() -> None:
    sized = fit([stage("preprocess"), stage("embed", cpus=0.5, gpus=1)], num_cpus=32, num_gpus=4, num_writers=2)
    # 32 CPUs less 4 x 0.5 for embed, 2 x 0.25 for writers and 2 of headroom.
    assert actors(sized) == [27, 4]


def test_fractional_gpus_are_shared() -> None:
    assert actors(fit([stage("embed", cpus=0.1, gpus=0.5)], num_cpus=8, num_gpus=2, num_writers=1)) == [4]


def test_cpu_pools_share_equally_and_given_numbers_stay() -> None:
    assert actors(fit([stage("a"), stage("b")], num_cpus=12.25, num_gpus=0, num_writers=1)) == [5, 5]
    assert actors(fit([stage("a", 3), stage("b")], num_cpus=12.25, num_gpus=0, num_writers=1)) == [3, 7]


def test_what_fills_the_cluster_exactly_fits() -> None:
    assert actors(fit([stage("a", 2)], num_cpus=4.25, num_gpus=0, num_writers=1)) == [2]
    assert cpus_needed([stage("a", 2)], 1) == 4.25


def test_too_many_actors_are_refused_with_the_sums() -> None:
    with pytest.raises(PlanError) as error:
        fit([stage("preprocess", 6), stage("embed", 2, 0.5, 1)], num_cpus=8, num_gpus=1, num_writers=1)
    message = str(error.value)
    assert "need 9.25 CPUs and 2 GPUs, the cluster has 8 and 1" in message
    assert "preprocess: 6 actors x 1 CPUs" in message
    assert "embed: 2 actors x 0.5 CPUs, 1 GPUs" in message


def test_a_gpu_pool_without_a_gpu_is_refused_not_waited_for() -> None:
    with pytest.raises(PlanError, match="1 GPUs, the cluster has 8 and 0"):
        fit([stage("embed", gpus=1)], num_cpus=8, num_gpus=0, num_writers=1)


def on(name: str, actors: int = AUTO, **custom: float) -> Stage:
    return Stage(name=name, operators=(), resources=Resources(num_actors=actors, num_cpus=0.5, custom=custom))


def test_a_pool_takes_all_there_is_of_its_custom_resource() -> None:
    stages = [on("preprocess", fetching=1), on("embed", embedding=0.5)]
    sized = fit(stages, num_cpus=16, num_gpus=0, num_writers=1, custom={"fetching": 6, "embedding": 2})
    assert actors(sized) == [6, 4]


def test_a_custom_resource_that_no_node_has_is_refused_not_waited_for() -> None:
    with pytest.raises(PlanError, match=r"2 of the resource 'fetching' \(preprocess 2\), the cluster has 1: start"):
        fit([on("preprocess", 2, fetching=1)], num_cpus=8, num_gpus=0, num_writers=1, custom={"fetching": 1})
    with pytest.raises(PlanError, match=r"1 of the resource 'fetching' \(preprocess 1\), the cluster has 0"):
        fit([on("preprocess", fetching=1)], num_cpus=8, num_gpus=0, num_writers=1)
