"""Where a job that goes over a table's fragments runs: in this process, or on a Ray cluster."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import model_validator

from jobs.config import merge, read_yaml
from jobs.open_table import ReadConfig
from jobs.ray_cluster import ray_cluster
from pipelines.cluster import ClusterConfig
from pipelines.fragment_tasks import Execute, tasks_here, tasks_on_ray


class ClusterReadConfig(ReadConfig):
    """What every job takes that reads a whole table on a cluster. Of the cluster file only where it runs matters."""

    cluster: ClusterConfig
    """Default: `conf/clusters/local.yaml`, which starts Ray on this machine."""

    @model_validator(mode="before")
    @classmethod
    def _build_on_the_local_cluster(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        cluster = values.get("cluster", {})
        if isinstance(cluster, Mapping) and "stages" not in cluster:
            cluster = merge(read_yaml("clusters/local")["cluster"], cluster)
        return {**values, "cluster": cluster}


@contextmanager
def fragment_tasks(config: ClusterConfig) -> Iterator[Execute]:
    """What runs a function over pieces of a table, connected to Ray while entered where the configuration says so."""
    if config.executor == "local":
        yield tasks_here
        return
    with ray_cluster(config, (), verbose=False):
        yield tasks_on_ray
