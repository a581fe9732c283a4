"""Where a job that goes over a table's fragments runs: in this process, or on a Ray cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import model_validator

from jobs.config.load import on_local_cluster
from jobs.config.open_table import ReadConfig
from jobs.session.ray_cluster import ray_cluster
from pipelines.run.cluster import ClusterConfig
from pipelines.table.tasks import Execute, tasks_here, tasks_on_ray


class ClusterReadConfig(ReadConfig):
    """What every job takes that reads a whole table on a cluster. Of the cluster file only where it runs matters."""

    cluster: ClusterConfig
    """Default: `conf/clusters/local.yaml`, which starts Ray on this machine."""

    @model_validator(mode="before")
    @classmethod
    def _build_on_the_local_cluster(cls, values: Any) -> Any:
        return on_local_cluster(values)


@contextmanager
def fragment_tasks(config: ClusterConfig) -> Iterator[Execute]:
    """What runs a function over pieces of a table, connected to Ray while entered where the configuration says so."""
    if config.executor == "local":
        yield tasks_here
        return
    with ray_cluster(config, (), verbose=False):
        yield tasks_on_ray
