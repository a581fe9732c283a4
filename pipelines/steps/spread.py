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

        # FSDP takes no others, and convolutions come with their channels last.
        for each in module.parameters():
            each.data = each.data.contiguous()
        return fully_shard(module, reshard_after_forward=True)
    on = [workers.device] if workers.device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(module, device_ids=on)


def whole(tensor: "Tensor") -> "Tensor":
    """A copy of all of it on the CPU; where it is in shards all workers must ask."""
    detached: Any = tensor.detach()
    found: Tensor = (detached.full_tensor() if _in_shards(detached) else detached).to("cpu", copy=True)
    return found


def local(tensor: "Tensor") -> "Tensor":
    """This worker's part."""
    held: Any = tensor
    found: Tensor = held.to_local() if _in_shards(tensor) else held
    return found


def like(given: "Tensor", other: "Tensor") -> "Tensor":
    """A copy of the whole tensor on the other's device, in shards where the other is."""
    copied = given.to(other.device, copy=True)
    if not _in_shards(other):
        return copied
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = other
    return distribute_tensor(copied, sharded.device_mesh, sharded.placements)


def _in_shards(tensor: "Tensor") -> bool:
    """Whether it is a DTensor, whose module takes seconds to import."""
    return hasattr(tensor, "full_tensor")
