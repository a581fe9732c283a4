"""A model measured on the images that are tested: its own vectors, its captions' and its class names'."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.session.progress import Progress
from pipelines.judging.forgetting import FEWEST, Forgetting, measure_forgetting
from pipelines.steps.workers import TrainingDevice, device_for
from pipelines.training_images.network import NetworkImages
from pipelines.tuning.judged import ImageValues, label_values, text_values, zero_shot_values
from pipelines.tuning.task import AT_ONCE, TuneImages, Tuning

if TYPE_CHECKING:
    from operators.models.saved.tower import OwnTower


@dataclass(frozen=True, kw_only=True)
class MeasuredModel:
    """What a model gives for the tested images, and for those that it is to remember."""

    values: ImageValues
    remembered: np.ndarray | None
    """(R, D) float32 vectors."""


def compared(before: MeasuredModel, after: MeasuredModel) -> Forgetting | None:
    """How far the two see the other images alike; None where there are none, or too few."""
    if before.remembered is None or after.remembered is None or len(before.remembered) < FEWEST:
        return None
    return measure_forgetting(before.remembered, after.remembered)


class TuneMeasuring:
    """In float32, on images as an embed job prepares them."""

    def __init__(
        self,
        tuning: Tuning,
        remembered: NetworkImages | None,
        templates: Sequence[str],
        device: TrainingDevice,
        progress: Progress,
    ) -> None:
        self._remembered = remembered
        self._tuning, self._network = tuning, tuning.network
        self._templates, self._progress = templates, progress
        self._device = device_for(device)
        self._rows, self._tested = tuning.rows, tuning.split.tested
        # What class names say of images that are trained by labels shows whether the text space holds.
        self._names = bool(self._rows.classes) and tuning.network.model.text

    def base(self) -> MeasuredModel:
        """What the model is worth before it is tuned."""
        from operators.models.saved.tower import trainable_tower

        tower = trainable_tower(self._network.model, self._network.storage, text=self._network.with_text)
        return self.of(tower)

    def of(self, tower: "OwnTower") -> MeasuredModel:
        """The same of any model, which is left on the CPU, in evaluation mode."""
        import torch

        tower.eval().to(self._device)
        try:
            with torch.no_grad():
                return MeasuredModel(values=self._values(tower), remembered=self._other(tower))
        finally:
            tower.to("cpu")

    def _values(self, tower: "OwnTower") -> ImageValues:
        vectors = self._vectors(tower, self._tuning.images, self._rows.positions[self._tested])
        found: dict[str, np.ndarray] = {}
        if self._rows.labels is not None:
            found |= label_values(vectors, self._rows.labels[self._tested], self._rows.own[self._tested])
        if self._rows.captions is not None:
            texts = self._rows.captions.take(self._tested).to_pylist()
            found |= text_values(vectors, self._texts(tower, texts))
        if self._names and self._rows.labels is not None:
            prompts = [each.replace("{}", name) for name in self._rows.classes for each in self._templates]
            words = self._with_words(tower, prompts).reshape(len(self._rows.classes), len(self._templates), -1)
            found |= zero_shot_values(vectors, words, self._rows.labels[self._tested])
        return found

    def _other(self, tower: "OwnTower") -> np.ndarray | None:
        other = self._remembered
        return None if other is None else self._vectors(tower, other, np.arange(other.images.rows))

    def _vectors(self, tower: "OwnTower", from_images: TuneImages, positions: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(positions), AT_ONCE):
            images = from_images.plain(positions[start : start + AT_ONCE]).to(self._device)
            parts.append(tower(images).float().cpu().numpy())
            self._progress.counted(
                f"measuring: {start + len(images):,} of {len(positions):,} images", start / len(positions)
            )
        return np.concatenate(parts)

    def _texts(self, tower: "OwnTower", texts: list[str]) -> np.ndarray:
        parts = [
            tower.embed_tokens(tower.tokenizer(texts[start : start + AT_ONCE]).to(self._device)).float().cpu().numpy()
            for start in range(0, len(texts), AT_ONCE)
        ]
        return np.concatenate(parts)

    def _with_words(self, tower: "OwnTower", prompts: list[str]) -> np.ndarray:
        """By the base's text tower, which labels do not train, through the model's own projection."""
        from operators.models.saved.tower import OwnTower, trainable_tower

        base = trainable_tower(self._network.model, self._network.storage, text=True)
        words = OwnTower(base.image, tower.projection, base.text)
        words.tokenizer = base.tokenizer
        return self._texts(words.eval().to(self._device), prompts)
