"""Some steps of few images, timed and weighed: what they keep for the way back is what memory goes into."""

import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from operators.base.memory_limit import available_memory
from pipelines.training_cost.predict import StepMeasure

if TYPE_CHECKING:
    import torch

FIRST, MOST = 6, 96
"""Images of the first step, and of the last at most."""
OUTWEIGH = 4
"""Times the largest gradient that the images of a step must weigh: of fewer images, it hides what these take."""


def measure_step(
    forward: "Callable[[int], torch.Tensor]",
    parameters: "Iterable[torch.nn.Parameter]",
) -> StepMeasure:
    """Time and weigh steps of twice as many images each, and draw a line through the last two.

    `forward` takes a number of images and gives any tensor with a gradient, such as the sum of the vectors of so many
    zero images; it is run as the training would run it, with its precision and checkpointing. The gradients of
    `parameters`, one device's, are taken away as they come: together they are as many bytes for any number of images,
    and at the end of a step of few they would outweigh what these took. The random state is put back; buffers, such as
    the running means of batch norms, are the caller's.
    """
    import torch

    own = list(parameters)
    largest = max(tensors_bytes([each]) for each in own)
    found: list[tuple[int, float, float]] = []
    with torch.random.fork_rng(enabled=True):
        # What is done once, such as choosing kernels, is not a step's.
        _weighed(forward, FIRST, own)
        images = FIRST
        while len(found) < 2 or (found[-1][2] < OUTWEIGH * largest and images <= MOST):
            began = time.monotonic()
            weight = _weighed(forward, images, own)
            found.append((images, time.monotonic() - began, float(weight)))
            images *= 2
    return StepMeasure.through(*found[-2:])


def free_memory(device: "torch.device | str" = "cpu") -> int | None:
    """Bytes that a training can take on a device; None where that is not known."""
    import torch

    where = torch.device(device)
    return int(torch.cuda.mem_get_info(where)[0]) if where.type == "cuda" else available_memory()


def tensors_bytes(tensors: "Iterable[torch.Tensor]") -> int:
    return sum(each.numel() * each.element_size() for each in tensors)


def _weighed(forward: "Callable[[int], torch.Tensor]", images: int, own: "list[torch.nn.Parameter]") -> int:
    """The most bytes that tensors held at a time in one pass forward and back, beside those that were there before."""
    import torch

    device = own[0].device
    hooks = [each.register_post_accumulate_grad_hook(_drop) for each in own]  # type: ignore[no-untyped-call]
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before = int(torch.cuda.memory_allocated(device))
            _forth_and_back(forward, images)
            torch.cuda.synchronize(device)
            return int(torch.cuda.max_memory_allocated(device)) - before
        with _weighing() as scales:
            _forth_and_back(forward, images)
        most: int = scales.most
        return most
    finally:
        for hook in hooks:
            hook.remove()


def _drop(parameter: "torch.Tensor") -> None:
    parameter.grad = None


def _forth_and_back(forward: "Callable[[int], torch.Tensor]", images: int) -> None:
    loss: Any = forward(images).float().sum()
    loss.backward()


def _weighing() -> Any:
    """Counts the memory of all that operations give, until nobody holds it any more: torch's CPU allocator keeps no
    books. A mode of torch's dispatcher, which also sees what runs on the way back, and what checkpointing computes
    again."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Scales(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.now = self.most = 0
            self.live: dict[int, int] = {}

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = {storage.data_ptr() for storage in self._storages((args, kwargs))}
            out = function(*args, **(kwargs or {}))
            for storage in self._storages(out):
                place = storage.data_ptr()
                # Views, and what is computed in place, are of memory that was there.
                if place not in given and place not in self.live:
                    self.live[place] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self._gone, place)
            return out

        def _gone(self, place: int) -> None:
            self.now -= self.live.pop(place, 0)

        @staticmethod
        def _storages(values: Any) -> list[Any]:
            return [each.untyped_storage() for each in tree_leaves(values) if isinstance(each, torch.Tensor)]

    return Scales()
