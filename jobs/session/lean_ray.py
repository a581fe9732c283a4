"""What a Ray that this process starts for itself on one machine does without: what serves clusters and dashboards.

Each process of Ray's takes half a second to a second of CPU to start, and 7 to 10 ms a second for as long as it lives,
a hundred wakings each, whether there is anything to do or not (Ray 2.60). Of these nobody here asks anything:

- the log monitor, which sends workers' output to a driver that was told not to show it, and the autoscaler's monitor;
- Ray Data's actor for statistics, which a dashboard would show;
- its actor that shares a cluster out among datasets and asks for more nodes;
- its actor that knows on which node each actor of a pool is.

A cluster that was there already, and has a dashboard and nodes, keeps all of it.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

LEAN = {
    # Ray's timing of each of its own events, for metrics: a tenth of what its idle processes take.
    "RAY_event_stats": "0",
    # What each task has been through, sent every second to the process that would show it.
    "RAY_task_events_report_interval_ms": "0",
    # A process whose tasks are done, as when all of the manifest is read, ends after five seconds: Ray would keep as
    # many as there are CPUs, 140 MB each.
    "RAY_num_workers_soft_limit": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "5000",
}
"""Environment variable of Ray's -> its value, unless the environment says otherwise."""


class NoLocations:
    """In place of the actor that knows the node of each actor: there is one. Travels to every actor of a pool."""

    @property
    def update_actor_location(self) -> "NoLocations":
        return self

    def remote(self, actor: str, node: str) -> None:
        """As the call of an actor's method."""


@contextmanager
def lean_start() -> Iterator[None]:
    """While entered, a Ray that is started has no monitors."""
    from ray._private.node import Node

    for name, value in LEAN.items():
        os.environ.setdefault(name, value)
    with ExitStack() as patches:
        for name in ("start_log_monitor", "start_monitor"):
            _put(patches, Node, name, lambda node: None)
        yield


@contextmanager
def lean_data() -> Iterator[None]:
    """While entered, Ray Data runs without its actors."""
    from ray.data._internal import stats
    from ray.data._internal.execution import streaming_executor
    from ray.data._internal.execution.operators import actor_pool_map_operator

    manager, pools = stats._StatsManager, actor_pool_map_operator
    with ExitStack() as patches:
        for name in ("update_execution_metrics", "update_iteration_metrics", "register_dataset_to_stats_actor"):
            _put(patches, manager, name, staticmethod(lambda *args, **kwargs: None))
        _put(patches, manager, "gen_dataset_id_from_stats_actor", staticmethod(lambda: uuid.uuid4().hex))
        _put(patches, streaming_executor, "create_cluster_autoscaler", lambda *args, **kwargs: _one_machine())
        _put(patches, pools, "get_or_create_actor_location_tracker", NoLocations)
        # Where an actor is, Ray Data knows from its start; it asks again since actors may move to other nodes.
        _put(patches, pools, "get_actor_locations", lambda actors: {})
        yield


def _put(patches: ExitStack, owner: Any, name: str, value: object) -> None:
    before = vars(owner)[name]
    setattr(owner, name, value)
    patches.callback(setattr, owner, name, before)


def _one_machine() -> Any:
    """Ray Data's view of a cluster that does not grow: all of it is for the one dataset."""
    import ray
    from ray.data._internal.cluster_autoscaler.base_cluster_autoscaler import ClusterAutoscaler
    from ray.data._internal.execution.interfaces import ExecutionResources

    class OneMachine(ClusterAutoscaler):  # type: ignore[misc]
        def try_trigger_scaling(self) -> None:
            return

        def on_executor_shutdown(self) -> None:
            return

        def get_total_resources(self) -> Any:
            return ExecutionResources.from_resource_dict(ray.cluster_resources())

    return OneMachine()
