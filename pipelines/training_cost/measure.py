"""Some steps of few images, timed and weighed: what they keep for the way back is what memory goes into."""

import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from operators.base.memory_limit import available_memory
from pipelines.training_cost.predict import StepMeasure

if TYPE_CHECKING:
    import torch

SIZES = (4, 12)
"""Images of the two steps that a line is drawn through. Of fewer, gradients hide what the images take."""


def measure_step(
    forward: "Callable[[int], torch.Tensor]",
    parameters: "Iterable[torch.nn.Parameter]",
    *,
    sizes: tuple[int, int] = SIZES,
) -> StepMeasure:
    """Time and weigh a step. `forward` takes a number of images and gives any tensor with a gradient, such as the sum
    of the vectors of so many zero images; it is run as the training would run it, with its precision and checkpointing,
    and the gradients of `parameters`, one device's, are taken away after. The random state is put back; buffers, such
    as the running means of batch norms, are the caller's."""
    import torch

    own = list(parameters)
    found = []
    with torch.random.fork_rng(enabled=True):
        # What is done once, such as choosing kernels, is not a step's.
        _weighed(forward, sizes[0], own)
        for images in sizes:
            began = time.monotonic()
            weight = _weighed(forward, images, own)
            found.append((images, time.monotonic() - began, float(weight)))
    return StepMeasure.through(*found)


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
        for each in own:
            each.grad = None


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
