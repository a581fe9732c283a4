"""Where the tasks of a job run: in this process, or on the Ray that the configuration names."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from jobs.ray_cluster import ray_cluster
from pipelines.cluster import ClusterConfig
from pipelines.run_tasks import RunTasks, run_tasks_here, run_tasks_on_ray

LEAST_WORKERS = 2
"""Tasks at a time on Ray, on however small a cluster."""


class TaskRunner(NamedTuple):
    run: RunTasks
    workers: int
    """How many tasks run at a time without sharing a machine."""


@contextmanager
def task_runner(cluster: ClusterConfig, *, verbose: bool) -> Iterator[TaskRunner]:
    """Connected while entered. Raises `UserError` where no such cluster answers."""
    if cluster.executor == "local":
        yield TaskRunner(run_tasks_here, 1)
        return
    with ray_cluster(cluster, (), verbose=verbose):
        import ray

        nodes = sum(1 for node in ray.nodes() if node["Alive"])
        yield TaskRunner(run_tasks_on_ray, max(nodes, LEAST_WORKERS))
