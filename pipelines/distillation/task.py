"""A student at work: what one step computes of it, on one worker or on several.

A step's batch depends on the seed and the step alone. It is cut into micro-batches of a fixed size, which no number of
workers changes: batch norm takes its statistics within one (`statistics`). The vectors of all are gathered, and the
loss is of the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from operators.base.errors import UserError
from operators.normalize import l2_normalize
from pipelines.distillation.losses import Lesson, mean_cosines, student_loss
from pipelines.distillation.statistics import RunningStatistics
from pipelines.steps.batches import Batches
from pipelines.steps.task import HeldOutLook
from pipelines.steps.workers import Workers

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

LOOKED_AT = 512
"""Held-out images of a look, at most."""


class StudentImages(Protocol):
    """The images, by their numbers, as the network takes them: (N, 3, height, width) float32."""

    def changed(self, positions_N: np.ndarray, step: int) -> "Tensor":
        """Cropped and coloured by chance: the same for the same image and step."""

    def plain(self, positions_N: np.ndarray) -> "Tensor":
        """As an embed job prepares them."""


class MakeStudent(Protocol):
    """Builds the network, with a projection behind it; the same on every worker."""

    def __call__(self) -> "Module":
        """From (N, 3, height, width) to (N, D), on the CPU."""


@dataclass(frozen=True, kw_only=True)
class StudentRows:
    """Which images a student learns from, and their teacher's vectors."""

    targets: str
    """Path of an .npy file, (V, K) float16: memory-mapped by each worker."""
    at: np.ndarray
    """(N,) int64: the place of each image's vector in it; of images without one anything below 0."""
    train: np.ndarray
    """Numbers of the images to learn from."""
    held: np.ndarray
    """Numbers of those by which training is stopped."""
    ids: pa.Array
    """(N,) string."""


@dataclass(frozen=True, kw_only=True)
class StudentSteps:
    """What of a recipe decides a step's loss."""

    lesson: Lesson
    batch: int
    """Images of a step."""
    crops: int
    """Changed looks of each image in it."""
    micro_batch: int
    """Looks that go through the network together."""
    seed: int


class StudentTask:
    """The student on one worker (`pipelines.steps.task.StepTask`)."""

    def __init__(
        self, make: MakeStudent, images: StudentImages, rows: StudentRows, steps: StudentSteps, workers: Workers
    ) -> None:
        self.module = make().to(workers.device).train()
        self._images, self._rows, self._steps, self._workers = images, rows, steps, workers
        self._targets = np.load(rows.targets, mmap_mode="r")
        self._batches = Batches(rows=rows.train, labels=None, size=steps.batch, seed=steps.seed)
        self._held = np.sort(np.random.default_rng([steps.seed, 4]).permutation(rows.held)[:LOOKED_AT])
        self._statistics = RunningStatistics(self.module)
        # As near to the size asked for as equal parts come: none is of a few images, whose statistics say little.
        looks = np.arange(self._batches.drawn * steps.crops)
        self._micro_batches = np.array_split(looks, max(round(len(looks) / steps.micro_batch), 1))
        if workers.size > len(self._micro_batches):
            raise UserError(
                f"{workers.size} workers share the {len(self._micro_batches)} micro-batches of a step: lower --workers "
                "or --micro-batch, or raise --batch"
            )

    def loss(self, step: int) -> "Tensor":
        """() float32: of the whole batch."""
        import torch

        numbers = np.repeat(self._batches.at(step), self._steps.crops)
        looks = np.tile(np.arange(self._steps.crops), len(numbers) // self._steps.crops) + step * self._steps.crops
        self._statistics.begin()
        own = []
        for at in self._workers.share(np.arange(len(self._micro_batches))):
            part = self._micro_batches[at]
            images = self._changed(numbers[part], looks[part]).to(self._workers.device)
            with self._workers.autocast():
                own.append(self.module(images).float())
            self._statistics.add()
        if self._statistics.numbers:
            sums = self._workers.gather(self._statistics.sums[None]).sum(dim=0)
            self._statistics.move(sums, len(self._micro_batches))
        outs_ND = self._workers.gather(torch.cat(own))
        return student_loss(outs_ND, self._wanted(numbers), self._steps.lesson)

    def ids(self, step: int) -> Sequence[str]:
        found: list[str] = self._rows.ids.take(pa.array(self._batches.at(step))).to_pylist()
        return found

    def look(self) -> HeldOutLook:
        """The loss on held-out images as an embed job prepares them, and the mean cosine to the teacher."""
        import torch

        self.module.eval()
        size = self._steps.micro_batch
        parts = [self._held[start : start + size] for start in range(0, len(self._held), size)]
        with torch.no_grad():
            outs_ND = torch.cat([self._plain(part) for part in parts])
            wanted_NK = self._wanted(self._held)
            loss = float(student_loss(outs_ND, wanted_NK, self._steps.lesson))
            [cosine] = mean_cosines(outs_ND, wanted_NK, self._steps.lesson.dims[:1])
        self.module.train()
        return HeldOutLook(score=loss, figures={"held_out_loss": loss, "held_out_cosine": cosine})

    def _changed(self, numbers: np.ndarray, looks: np.ndarray) -> "Tensor":
        """Each image in the look of its number: a step counts as many steps of looks as there are crops."""
        import torch

        places = [np.flatnonzero(looks == look) for look in np.unique(looks)]
        made = torch.cat([self._images.changed(numbers[own], int(looks[own[0]])) for own in places])
        return made[np.argsort(np.concatenate(places))] if len(places) > 1 else made

    def _plain(self, numbers: np.ndarray) -> "Tensor":
        with self._workers.autocast():
            made: Tensor = self.module(self._images.plain(numbers).to(self._workers.device))
        return made.float()

    def _wanted(self, numbers: np.ndarray) -> "Tensor":
        import torch

        vectors = self._targets[self._rows.at[numbers]].astype(np.float32)
        return torch.from_numpy(l2_normalize(vectors)).to(self._workers.device)
