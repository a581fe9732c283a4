"""A task's module on several workers: whole on each (DDP), or in shards (FSDP), and its tensors whole again."""

from typing import TYPE_CHECKING, Any

from pipelines.steps.task import StepTask
from pipelines.steps.workers import Workers

if TYPE_CHECKING:
    from torch import Tensor


def spread_module(task: StepTask, workers: Workers, sharded: bool) -> Any:
    """A module whose call with a step is the task's loss, and with None its look: so gradients are averaged over the
    workers whatever a loss does with the module, and however often it calls it.

    Sharded, each worker holds its part of parameters, gradients and moments, and all of them are there for the time of
    a call (`torch.distributed.fsdp.fully_shard`, over the module as one unit).
    """
    import torch

    class StepModule(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trained = task.module

        def forward(self, step: int | None) -> Any:
            return task.look() if step is None else task.loss(step)

    module = StepModule()
    if workers.size == 1:
        return module
    if sharded:
        from torch.distributed.fsdp import fully_shard

        return fully_shard(module, reshard_after_forward=True)
    on = [workers.device] if workers.device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(module, device_ids=on)


def whole(tensor: "Tensor") -> "Tensor":
    """A copy of all of it on the CPU; where it is in shards all workers must ask."""
    from torch.distributed.tensor import DTensor

    detached = tensor.detach()
    if isinstance(detached, DTensor):
        detached = detached.full_tensor()
    return detached.to("cpu", copy=True)


def local(tensor: "Tensor") -> "Tensor":
    """This worker's part."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(given: "Tensor", other: "Tensor") -> "Tensor":
    """A copy of the whole tensor on the other's device, in shards where the other is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    copied = given.to(other.device, copy=True)
    if isinstance(other, DTensor):
        return distribute_tensor(copied, other.device_mesh, other.placements)
    return copied
