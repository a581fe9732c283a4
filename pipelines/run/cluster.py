"""What a cluster file says: which stage runs which operators, on how much of the cluster, in blocks of what size."""

import os
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipelines.run.resources import AUTO
from pipelines.run.stage import Resources

_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/:]+):\d{1,5}")


class StageConfig(BaseModel):
    """One actor pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    operators: tuple[str, ...] = Field(min_length=1)
    num_actors: int | Literal["auto"] = "auto"
    num_cpus: float = Field(default=1.0, gt=0)
    num_gpus: float = Field(default=0.0, ge=0)
    memory_bytes: int | None = Field(default=None, gt=0)
    custom_resources: dict[str, Annotated[float, Field(gt=0)]] = {}
    """What the nodes for this pool have been started with (`ray start --resources`): name -> amount for each actor."""
    concurrent_blocks: int = Field(default=1, ge=1)
    """Blocks that one actor works on at a time: while one waits for the network, another is decoded."""

    def resources(self) -> Resources:
        return Resources(
            num_actors=AUTO if self.num_actors == "auto" else self.num_actors,
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            memory_bytes=self.memory_bytes,
            custom=self.custom_resources,
            concurrent_blocks=self.concurrent_blocks,
        )


class ClusterConfig(BaseModel):
    """Where and how a pipeline runs. No field changes a vector, so none is part of the space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: Literal["auto", "ray", "local"] = "auto"
    """`local` runs the same stages in this one process and its children, without Ray. `auto` is `local` for a job of a
    few minutes, unless `address` names a cluster, else `ray`."""
    address: str | None = None
    """A running Ray cluster: `auto` on one of its nodes, or HOST:PORT of its head; None starts one on this machine."""
    num_cpus: int | None = Field(default=None, ge=1)
    """CPUs of this machine for the run; None takes what it has."""
    num_gpus: int | None = Field(default=None, ge=0)
    object_store_bytes: int | None = Field(default=None, ge=80 << 20)
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    device: Literal["cpu", "cuda"] = "cpu"
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 32
    """Images per forward pass; `auto`: each actor on a GPU finds the fastest that its memory holds, on CPUs 32."""
    num_threads: int | None = Field(default=None, ge=1)
    """CPU threads of one actor's forward pass."""
    compile: bool = False
    """`torch.compile` the model: minutes at each start, more images a second after it."""
    block_rows: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Rows per block at every step. On GPUs a multiple of `batch_size`, about 64 to 96 MiB of pixels; `auto`: about a
    second of one core's work, three on Ray."""
    rows_per_fragment: int = Field(default=1024, ge=1)
    """Rows that a writer collects before it writes a fragment: what a crash can lose per writer."""
    num_writers: int = Field(default=1, ge=1)
    commit_interval_s: float = Field(default=10.0, gt=0)
    """Seconds between commits of what is written; the local executor also writes at least so often, however few rows
    that are."""
    epoch_rows: int = Field(default=12_800_000, ge=1)
    no_progress_timeout_s: float = Field(default=900.0, gt=0)
    lost_node_wait_s: float = Field(default=300.0, ge=0)
    """Seconds for which another node is waited for when one of a joined cluster is lost with actors on it; then the run
    goes on with smaller pools."""
    retries: int = Field(default=3, ge=0)
    """How often a failed epoch is started again before the run ends as failed."""

    @property
    def cores_here(self) -> int:
        """CPU cores of this machine that a run on it may use."""
        return self.num_cpus or len(os.sched_getaffinity(0))

    @field_validator("address")
    @classmethod
    def _is_of_a_head(cls, address: str | None) -> str | None:
        """Raises `ValueError` for what Ray would end with a traceback of, or take for something else."""
        if address is None or address == "auto" or _HOST_PORT.fullmatch(address):
            return address
        why = "; Ray's client (ray://) cannot run Ray Data's own loop here" if address.startswith("ray://") else ""
        raise ValueError(
            f"{address!r} is no address of a Ray cluster: give HOST:PORT of its head, as `ray start --head` prints it, "
            f"or auto on one of its nodes{why}"
        )

    @field_validator("stages")
    @classmethod
    def _names_differ(cls, stages: tuple[StageConfig, ...]) -> tuple[StageConfig, ...]:
        """Raises `ValueError` where two stages would share a name: reports go by stage name, with `write` for the
        writers; Ray's actors by the name without underscores."""
        taken = {"write": "the pool that writes the table"}
        for stage in stages:
            bare = stage.name.replace("_", "")
            if bare in taken:
                raise ValueError(f"the name {stage.name!r} collides with {taken[bare]}; rename the stage")
            taken[bare] = f"stage {stage.name!r}"
        return stages
