"""The network that is taught, what it costs to run, and its vectors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models.spec import ModelDescription
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.training_cost.measure import free_memory, measure_step, tensors_bytes
from pipelines.training_cost.predict import TrainingSize, check_fits

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module

    from operators.models.saved.tower import OwnTower

TIMED_IMAGES = 32
ROUNDS = 4


@dataclass(frozen=True)
class StudentMaker:
    """Builds the student: a described model with a linear projection behind it, drawn by the seed."""

    description: ModelDescription
    outputs: int
    """Length of its vectors."""
    seed: int
    storage: StorageOptions = NO_OPTIONS

    def __call__(self) -> "OwnTower":
        """On the CPU, in evaluation mode; what has no part in its vectors is frozen. Raises `ModelError`."""
        import torch

        from operators.models.saved.tower import Projection, trainable_tower

        tower = trainable_tower(self.description, self.storage)
        torch.manual_seed(self.seed)
        tower.projection = Projection(self.description.dim, self.outputs, bias=True)
        _freeze_what_is_idle(tower, self.description)
        return tower

    def filled(self, tensors: Mapping[str, "Tensor"]) -> "OwnTower":
        """The student with the tensors of a training, in evaluation mode."""
        tower = self()
        tower.load_state_dict({**tower.state_dict(), **tensors})
        return tower.eval()


def _freeze_what_is_idle(tower: "Module", description: ModelDescription) -> None:
    """Some networks hold parameters that their vectors do not depend on, such as a norm that another pooling would
    use."""
    import torch

    size = (description.preprocess.height, description.preprocess.width)
    tower.eval()(torch.zeros(1, 3, *size)).sum().backward()
    for each in tower.parameters():
        each.requires_grad_(each.grad is not None)
        each.grad = None


def check_student_fits(
    maker: StudentMaker, device: "torch.device", *, looks: int, steps: int, workers: int, lower: str
) -> None:
    """Raises `UserError` where the training of a student, `looks` images a step, needs more memory than is free on the
    device; `lower` says what makes it smaller."""
    import torch

    tower = maker().train().to(device)
    size = (maker.description.preprocess.height, maker.description.preprocess.width)
    trained = [each for each in tower.parameters() if each.requires_grad]
    measure = measure_step(lambda images: tower(torch.zeros(images, 3, *size, device=device)), trained)
    on_gpu = device.type == "cuda"
    training = TrainingSize(
        batch=looks,
        steps=steps,
        held_bytes=tensors_bytes(tower.state_dict().values()),
        trained_bytes=tensors_bytes(trained),
        workers=1 if on_gpu else workers,
        on_gpu=on_gpu,
    )
    check_fits(measure, training, free_memory(device), lower=lower)


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """What it takes to run a network on one image."""

    parameters: int
    macs: int
    """Multiplications with an addition of one forward pass, as torch counts them: convolutions, matrix products and
    attention."""


def network_cost(tower: "Module", description: ModelDescription) -> NetworkCost:
    """Of a tower that maps (N, 3, height, width) to (N, dim)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    first = next(tower.parameters())
    size = (description.preprocess.height, description.preprocess.width)
    # With gradients on: torch's fast path of attention, which it takes without, is not counted.
    pixels = torch.zeros(1, 3, *size, dtype=first.dtype, device=first.device, requires_grad=True)
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        tower(pixels)
    return NetworkCost(parameters=sum(each.numel() for each in tower.parameters()), macs=counter.get_total_flops() // 2)


Embedding = Callable[[np.ndarray], np.ndarray]
"""From (N, H, W, 3) uint8 to (N, dim) float32."""


def images_per_second(embeddings: list[tuple[Embedding, ModelDescription]], clock: Callable[[], float]) -> list[float]:
    """Images a second of each model's forward pass on pixels at its own size: the best of some rounds in which they
    take turns, so that whatever else runs here slows all of them. `clock` gives seconds."""
    pixels = [
        np.random.default_rng(0).integers(
            0, 256, (TIMED_IMAGES, each.preprocess.height, each.preprocess.width, 3), np.uint8
        )
        for _, each in embeddings
    ]
    best = [0.0] * len(embeddings)
    for _ in range(ROUNDS):
        for at, (embed, _) in enumerate(embeddings):
            began = clock()
            embed(pixels[at])
            best[at] = max(best[at], TIMED_IMAGES / (clock() - began))
    return best


def tower_embedder(tower: "Module", description: ModelDescription, device: str) -> Any:
    """Embeds with a network that is here as an embed job would with the saved one, in float32."""
    from operators.models.runtime import Runtime
    from operators.models.towers.embedder import TorchEmbedder

    return TorchEmbedder(tower, description.preprocess, Runtime(device=device))
