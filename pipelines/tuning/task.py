"""A model being tuned: what one step computes of it, on one worker or on several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from operators.models.spec import ModelDescription
from operators.models.tuning.trainable import Trainable
from operators.normalize import l2_normalize
from operators.storage.stores import StorageOptions
from pipelines.judging.labelled import cosines_of, label_scores
from pipelines.steps.batches import Batches
from pipelines.steps.task import HeldOutLook
from pipelines.steps.workers import Workers
from pipelines.training.losses import captioned, contrastive
from pipelines.tuning.rows import TuneObjective, TuneRows, TuneSplit

if TYPE_CHECKING:
    from torch import Tensor

    from operators.models.saved.tower import OwnTower

TEMPERATURES: dict[TuneObjective, float] = {"labels": 0.1, "pairs": 0.1, "captions": 0.01}
"""Captions: what CLIP's own training ended at."""
AT_ONCE = 32
"""Images of a forward pass without gradient."""


class TuneImages(Protocol):
    """The images, by their positions, as the network takes them: (N, 3, height, width) float32."""

    def changed(self, positions_N: np.ndarray, step: int) -> "Tensor":
        """Cropped and coloured by chance: the same for a step and position."""

    def plain(self, positions_N: np.ndarray) -> "Tensor":
        """As an embed job prepares them."""


@dataclass(frozen=True, kw_only=True)
class TunedNetwork:
    """Which network is trained, and how much of it."""

    model: ModelDescription
    """The model to begin with."""
    trainable: Trainable
    with_text: bool
    """Whether there is a text tower beside it."""
    freeze_text: bool
    """Whether that stays as it is."""
    seed: int
    gradient_checkpointing: bool
    storage: StorageOptions

    def build(self) -> "tuple[OwnTower, list[str]]":
        """(the network with its weights, ready to be trained, on the CPU; notes about it). The same on every worker.
        Raises `ModelError` for a network that cannot be trained so."""
        import torch

        from operators.models.saved.tower import trainable_tower
        from operators.models.tuning.prepare import checkpoint_gradients, freeze_unused, make_trainable, set_mode

        preprocess = self.model.preprocess
        tower = trainable_tower(self.model, self.storage, text=self.with_text)
        notes = make_trainable(
            self.model.spec.name,
            tower,
            self.trainable,
            dim=self.model.dim,
            seed=self.seed,
            text=self.with_text and not self.freeze_text,
        )
        if self.gradient_checkpointing and not checkpoint_gradients(tower):
            notes.append("its network has no gradient checkpointing; a smaller --batch needs less memory")
        tower.eval()
        outs = [tower(torch.zeros(2, 3, preprocess.height, preprocess.width))]
        if self.with_text:
            outs.append(tower.embed_tokens(tower.tokenizer(["one", "two"])))
        freeze_unused(tower, outs)
        set_mode(tower, self.trainable)
        return tower, notes


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """All that decides what is learnt, beside the steps' recipe; it makes the task on each worker."""

    network: TunedNetwork
    objective: TuneObjective
    images: TuneImages
    rows: TuneRows
    split: TuneSplit
    batch: int
    temperature: float

    def __call__(self, workers: Workers) -> "TuneTask":
        return TuneTask(self, workers)

    def batches(self) -> Batches:
        """Which rows each step sees."""
        train = self.split.train
        labels = None if self.rows.labels is None else self.rows.labels[train]
        return Batches(rows=train, labels=labels, size=self.batch, seed=self.network.seed)


class TuneTask:
    """The model on one worker (`pipelines.steps.task.StepTask`)."""

    def __init__(self, tuning: Tuning, workers: Workers) -> None:
        self._tuning, self._workers, self._rows = tuning, workers, tuning.rows
        self.module = tuning.network.build()[0].to(workers.device)
        self._batches = tuning.batches()
        self._alike = self._rows.alike

    def loss(self, step: int) -> "Tensor":
        """() float32: of the whole batch."""
        places = self._batches.at(step)
        mine = self._workers.share(places)
        with self._workers.autocast():
            images = self._tuning.images.changed(self._rows.positions[mine], step).to(self._workers.device)
            own = self.module(images)
            texts = self._texts(mine) if self._tuning.network.with_text else None
        return self._loss(
            self._workers.gather(own.float()),
            None if texts is None else self._workers.gather(texts.float()),
            places,
        )

    def ids(self, step: int) -> Sequence[str]:
        found: list[str] = self._rows.ids.take(pa.array(self._batches.at(step))).to_pylist()
        return found

    def look(self) -> HeldOutLook:
        """The loss on the held-out images as an embed job prepares them; whose nearest other one has its label, or of
        captions, whose image is the nearest to its text."""
        import torch

        held = self._tuning.split.held
        mine, training = self._workers.share(held), self.module.training
        self.module.eval()
        with torch.no_grad(), self._workers.autocast():
            images = self._workers.gather(self._embedded(mine))
            texts = self._workers.gather(self._texts(mine).float()) if self._tuning.network.with_text else None
        self.module.train(training)
        with torch.no_grad():
            loss = float(self._loss(images, texts, held))
        figures = {"held_out_loss": loss, **self._figures(images, texts, held)}
        return HeldOutLook(score=loss, figures=figures)

    def _loss(self, images: "Tensor", texts: "Tensor | None", places: np.ndarray) -> "Tensor":
        import torch
        from torch.nn.functional import normalize

        units, temperature = normalize(images, dim=1), self._tuning.temperature
        if texts is not None:
            assert self._alike is not None
            alike = torch.from_numpy(self._alike[places]).to(units.device)
            return captioned(units, normalize(texts, dim=1), alike, temperature)
        assert self._rows.labels is not None
        return contrastive(units, torch.from_numpy(self._rows.labels[places]).to(units.device), temperature)

    def _texts(self, places: np.ndarray) -> "Tensor":
        assert self._rows.captions is not None
        texts = self._rows.captions.take(pa.array(places)).to_pylist()
        parts = [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)] or [[]]
        return _joined(
            [self.module.embed_tokens(self.module.tokenizer(part).to(self._workers.device)) for part in parts if part],
            self._tuning.network.model.dim,
            self._workers,
        )

    def _embedded(self, places: np.ndarray) -> "Tensor":
        images, positions = self._tuning.images, self._rows.positions[places]
        parts = [positions[start : start + AT_ONCE] for start in range(0, len(positions), AT_ONCE)]
        made = [self.module(images.plain(part).to(self._workers.device)).float() for part in parts]
        return _joined(made, self._tuning.network.model.dim, self._workers)

    def _figures(self, images: "Tensor", texts: "Tensor | None", held: np.ndarray) -> dict[str, float]:
        vectors, own = images.cpu().numpy(), self._rows.own[held]
        if texts is not None:
            return {"held_out_text_recall": float(np.mean(found_by_text(vectors, texts.cpu().numpy(), 1)))}
        assert self._rows.labels is not None
        right = label_scores(cosines_of(vectors), self._rows.labels[held], own, (1,), ranked=False).right[1]
        return {"held_out_1nn": float(np.nanmean(right)) if np.isfinite(right).any() else 0.0}


def found_by_text(images_ND: np.ndarray, texts_ND: np.ndarray, k: int) -> np.ndarray:
    """(N,) float64: whether an image is among the `k` nearest to its own text."""
    scores = l2_normalize(texts_ND) @ l2_normalize(images_ND).T
    own = scores.diagonal()
    # What has no direction is near to nothing.
    found: np.ndarray = (((scores > own[:, None]).sum(axis=1) < k) & np.isfinite(own)).astype(np.float64)
    return found


def _joined(parts: "list[Tensor]", dim: int, workers: Workers) -> "Tensor":
    import torch

    return torch.cat(parts) if parts else torch.zeros((0, dim), device=workers.device)
