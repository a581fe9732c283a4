"""Batch norm that does not depend on how many workers there are: its statistics are those of micro-batches of a fixed
size, which are the same images whoever computes them.

Hoffer et al. 2017, "Train longer, generalize better", call it ghost batch norm.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

MOMENTUM = 0.1
"""Of a step, in the running statistics: torch's own of a batch."""


class RunningStatistics:
    """The running statistics of a network's batch norms: after a step they move once, in float64, towards the mean of
    all its micro-batches' own.

    Between steps the network itself holds them, so that in evaluation mode, and in a checkpoint, it is what it would be
    on one worker. A network without batch norm has none, and each call then does nothing.
    """

    def __init__(self, network: "Module") -> None:
        import torch

        norms = torch.nn.modules.batchnorm._BatchNorm
        self._norms: list[Any] = [
            each for each in network.modules() if isinstance(each, norms) and each.running_mean is not None
        ]
        for each in self._norms:
            # What it then holds after a forward pass are the statistics of that one alone.
            each.momentum = 1.0
        self.begin()

    @property
    def numbers(self) -> int:
        """Length of the sums."""
        return len(self._kept)

    def begin(self) -> None:
        """Begin a step: what the network holds now is what moves."""
        self._kept = self._held()
        self.sums = self._kept.new_zeros(self._kept.shape)
        """(numbers,) float64: the sum of the statistics of this worker's micro-batches in the step."""

    def add(self) -> None:
        """Take in the statistics of the micro-batch that has just gone through the network in training mode."""
        self.sums = self.sums + self._held()

    def move(self, sums: "Tensor", micro_batches: int) -> None:
        """End the step: `sums` are of all its micro-batches, on all workers."""
        moved, place = (1 - MOMENTUM) * self._kept + MOMENTUM * sums / micro_batches, 0
        for each in self._norms:
            for buffer in (each.running_mean, each.running_var):
                # Of its data: a backward pass that is still to come would take it for a change of what it needs.
                buffer.data.copy_(moved[place : place + buffer.numel()].view_as(buffer))
                place += buffer.numel()
            # It counts what this worker alone has seen.
            each.num_batches_tracked.zero_()

    def _held(self) -> "Tensor":
        import torch

        parts = [buffer.double().flatten() for each in self._norms for buffer in (each.running_mean, each.running_var)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
