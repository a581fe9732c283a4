"""Actors per pool on a cluster of known size, refusal with the sums, and what is left when nodes are lost."""

import pytest

from operators.base.errors import PlanError
from pipelines.run.resources import AUTO, LOOK_S, LostNodes, Node, cpus_needed, fit, fit_to_nodes
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


FETCHES: Node = {"CPU": 4, "fetching": 1}
EMBEDS: Node = {"CPU": 2, "embedding": 1}
KINDS = [on("preprocess", fetching=1), on("embed", embedding=1)]


def test_nodes_that_are_left_hold_smaller_pools() -> None:
    assert actors(fit_to_nodes(KINDS, [FETCHES, FETCHES, EMBEDS], 1)) == [2, 1]
    assert actors(fit_to_nodes(KINDS, [FETCHES, EMBEDS], 1)) == [1, 1]
    given = [on("preprocess", 6, fetching=0.25), stage("more", 3, cpus=0.5)]
    # Of given numbers the largest pool gives way first: 4 CPUs less 2 of headroom and 0.25 for the writer are 3 halves.
    assert actors(fit_to_nodes(given, [{"CPU": 8, "fetching": 2}], 1)) == [6, 3]
    assert actors(fit_to_nodes(given, [{"CPU": 4, "fetching": 2}], 1)) == [1, 2]


def test_an_actor_that_no_single_node_has_room_for_is_not_counted() -> None:
    wide = [stage("wide", 3, cpus=3)]
    assert actors(fit_to_nodes(wide, [{"CPU": 4}] * 3, 1)) == [3]
    assert actors(fit_to_nodes(wide, [{"CPU": 8}, {"CPU": 2}, {"CPU": 2}], 1)) == [2]
    assert actors(fit_to_nodes([stage("wide", cpus=3)], [{"CPU": 8}, {"CPU": 2}, {"CPU": 2}], 1)) == [2]
    with pytest.raises(PlanError, match="no node has room for an actor of wide"):
        fit_to_nodes(wide, [{"CPU": 2}] * 6, 1)


@pytest.mark.parametrize("nodes", [[], [FETCHES, FETCHES], [EMBEDS, {"CPU": 64}]])
def test_nodes_that_lack_a_kind_hold_nothing(nodes: list[Node]) -> None:
    with pytest.raises(PlanError):
        fit_to_nodes(KINDS, nodes, 1)


class Cluster:
    """Looked at every few seconds of a clock of its own, with one actor of two waiting."""

    def __init__(self, nodes: list[Node], wait_s: float = 60) -> None:
        self.nodes, self.now, self.asked = nodes, 0.0, 0
        self.lost = LostNodes(KINDS, fit_to_nodes(KINDS, nodes, 1), num_writers=1, wait_s=wait_s)

    def pass_by(self, seconds: float, waiting: int = 1) -> str | None:
        until = self.now + seconds
        while self.now < until:
            self.now += LOOK_S / 2
            self.lost.look(self.now, waiting, self._nodes)
        return self.lost.why()

    def _nodes(self) -> list[Node]:
        self.asked += 1
        return self.nodes


def test_a_node_that_stays_away_ends_an_execution_once_and_the_next_has_smaller_pools() -> None:
    cluster = Cluster([FETCHES, FETCHES, EMBEDS])
    cluster.nodes = [FETCHES, EMBEDS]
    assert cluster.pass_by(55) is None
    why = cluster.pass_by(20)
    assert why is not None
    assert "for 60 s (cluster.lost_node_wait_s)" in why
    assert "(preprocess 1 of 2, embed 1 of 1)" in why
    assert cluster.pass_by(600) is None, "while it ends it is not told to again"
    assert cluster.lost.any
    cluster.lost.resize(cluster.nodes)
    assert actors(cluster.lost.sized) == [1, 1]
    assert cluster.pass_by(600) is None, "actors that load have their place"
    cluster.lost.resize([FETCHES, FETCHES, EMBEDS])
    assert actors(cluster.lost.sized) == [2, 1], "a later execution takes what has come back"


def test_a_node_that_comes_back_in_time_changes_nothing() -> None:
    cluster = Cluster([FETCHES, FETCHES, EMBEDS])
    for _ in range(3):
        cluster.nodes = [FETCHES, EMBEDS]
        assert cluster.pass_by(50) is None
        cluster.nodes = [FETCHES, FETCHES, EMBEDS]
        assert cluster.pass_by(50) is None
    assert not cluster.lost.any


def test_without_a_node_of_each_kind_it_is_waited_on() -> None:
    cluster = Cluster([FETCHES, EMBEDS])
    cluster.nodes = [EMBEDS]
    assert cluster.pass_by(3600) is None


def test_where_no_actor_waits_nobody_asks_for_nodes() -> None:
    cluster = Cluster([FETCHES, FETCHES, EMBEDS])
    cluster.nodes = [FETCHES, EMBEDS]
    assert cluster.pass_by(600, waiting=0) is None
    assert cluster.asked == 0
