"""A training that takes a moment: rows of two kinds, told apart by a linear layer and a hidden one with dropout."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.steps.batches import Batches
from pipelines.steps.recipe import StepRecipe
from pipelines.steps.task import HeldOutLook
from pipelines.steps.workers import Workers
from pipelines.training.losses import contrastive

if TYPE_CHECKING:
    from torch import Tensor

ROWS, DIM = 90, 6


@dataclass(frozen=True)
class SmallTraining:
    """What makes the task on each worker."""

    broken_at: int | None = None
    """The step from which a row is no number."""
    dropout: float = 0.0
    batch_statistics: bool = False
    """Whether batches are normalised by their own statistics, which buffers keep."""
    killed_at: int | None = None
    """The step at which the second worker ends its process, once: `mark` is then there."""
    mark: str = ""

    def __call__(self, workers: Workers) -> "SmallTask":
        return SmallTask(self, workers)


class SmallTask:
    def __init__(self, made: SmallTraining, workers: Workers) -> None:
        import torch
        from torch import nn

        random = np.random.default_rng(5)
        self.made, self.workers = made, workers
        self.labels = torch.tensor(random.integers(0, 3, ROWS))
        self.vectors = torch.tensor(random.normal(size=(ROWS, DIM)), dtype=torch.float32) + self.labels[:, None]
        self.batches = Batches(rows=np.arange(60), labels=None, size=21, seed=3)
        torch.manual_seed(1)
        self.module: nn.Module = nn.Sequential(
            nn.Linear(DIM, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(made.dropout), nn.Linear(8, 4)
        )
        # Not in the order of rows, as the weights of convolutions with their channels last.
        last: nn.Linear = self.module[4]  # type: ignore[index, assignment]
        last.weight.data = last.weight.data.T.contiguous().T

        self._train()

    def _train(self) -> None:
        self.module.train()
        self.module[1].train(self.made.batch_statistics)  # type: ignore[index]

    def loss(self, step: int) -> "Tensor":
        places = self.batches.at(step)
        made = self.made
        if made.killed_at == step and self.workers.rank == 1 and not Path(made.mark).exists():
            Path(made.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        mine = self.vectors[self.workers.share(places)]
        if made.broken_at is not None and step >= made.broken_at and self.workers.rank == 0:
            mine = mine * float("nan")
        with self.workers.autocast():
            own = self.module(mine)
        units = nn_normalize(self.workers.gather(own))
        return contrastive(units, self.labels[places], 0.2)

    def ids(self, step: int) -> Sequence[str]:
        return [f"row-{place}" for place in self.batches.at(step)]

    def look(self) -> HeldOutLook:
        self.module.eval()
        units = nn_normalize(self.workers.gather(self.module(self.vectors[self.workers.share(np.arange(60, ROWS))])))
        self._train()
        loss = float(contrastive(units, self.labels[60:], 0.2))
        return HeldOutLook(loss, {"held_out_loss": loss})


def nn_normalize(vectors: "Tensor") -> "Tensor":
    from torch.nn.functional import normalize

    return normalize(vectors, dim=1)


def small_recipe(**other: object) -> StepRecipe:
    given = {"steps": 30, "learning_rate": 0.01, "weight_decay": 0.01, "seed": 4, "look_every": 10, "patience": 20}
    given |= {"schedule": "cosine", "warmup": 5, "clip": 1.0}
    return StepRecipe(**{**given, **other})  # type: ignore[arg-type]
