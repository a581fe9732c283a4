"""The workers that train together: who has which rows, and what all of them know."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from operators.base.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TrainingPrecision = Literal["auto", "float32", "bf16"]
TrainingDevice = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Workers:
    """This worker, one of `size`. With several the process group of torch.distributed is there."""

    rank: int
    size: int
    device: "torch.device"
    bf16: bool = False
    """Whether models are run in bfloat16 where that is safe (autocast); parameters and losses stay float32."""

    def share(self, places: np.ndarray) -> np.ndarray:
        """This worker's part of the places of a batch; the parts in the order of the workers are the whole."""
        return np.array_split(places, self.size)[self.rank]

    def autocast(self) -> AbstractContextManager[Any]:
        """Around the model alone: the loss belongs outside."""
        import torch

        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def gather(self, own: "Tensor") -> "Tensor":
        """(sum of all N, ...) from each worker's (N, ...), in the order of the workers, whose N may differ. Gradients
        run back to every worker's part; what is less than float32 comes back as float32."""
        whole = own.float() if own.is_floating_point() and own.element_size() < 4 else own
        return whole if self.size == 1 else _gathered(whole, self.rank, self.size)

    def any(self, flag: bool) -> bool:
        """Whether it is so on any worker; all must ask."""
        if self.size == 1:
            return flag
        import torch
        from torch import distributed

        told = torch.tensor([float(flag)], device=self.device)
        distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
        return bool(told.item())

    def first(self, values: list[float]) -> list[float]:
        """The first worker's values, on all; as many on each."""
        if self.size == 1:
            return values
        import torch
        from torch import distributed

        told = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.broadcast(told, src=0)
        return [float(each) for each in told.tolist()]


def _gathered(own: "Tensor", rank: int, size: int) -> "Tensor":
    import torch
    from torch import distributed

    told = torch.zeros(size, dtype=torch.int64, device=own.device)
    told[rank] = len(own)
    distributed.all_reduce(told)
    counts = [int(each) for each in told.tolist()]
    ends = np.cumsum(counts)

    def all_of(mine: "Tensor") -> "Tensor":
        padded = mine.new_zeros((max(counts), *mine.shape[1:]))
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    class Gathering(torch.autograd.Function):
        """Backwards: the sum of what every worker's loss says of this worker's part."""

        @staticmethod
        def forward(ctx: Any, mine: "Tensor") -> "Tensor":
            return all_of(mine.detach())

        @staticmethod
        def backward(ctx: Any, *gradients: "Tensor") -> "Tensor":
            whole = gradients[0].contiguous()
            distributed.all_reduce(whole)
            return whole[ends[rank] - counts[rank] : ends[rank]]

    if not own.requires_grad:
        return all_of(own)
    return Gathering.apply(own)  # type: ignore[no-any-return, no-untyped-call]


def device_for(asked: TrainingDevice) -> "torch.device":
    """The device of this worker: `auto` takes a GPU where torch sees one. Raises `UserError` where `cuda` is asked for
    and is not there."""
    import torch

    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise UserError("cuda was asked for, and torch sees no GPU here; leave the device out to train on CPUs")
    return torch.device("cuda" if there and asked != "cpu" else "cpu")


def uses_bf16(asked: TrainingPrecision, device: "torch.device") -> bool:
    """`auto` takes bfloat16 where the device multiplies it natively: GPUs from compute capability 8.0 on, and CPUs with
    AVX512-BF16 or AMX; elsewhere it is slower than float32."""
    import torch

    if asked != "auto":
        return asked == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
