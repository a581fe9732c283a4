"""A model measured on the images that are tested: its own vectors, its captions' and its class names'."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jobs.session.progress import Progress
from pipelines.steps.workers import TrainingDevice, device_for
from pipelines.tuning.judged import ImageValues, label_values, text_values, zero_shot_values
from pipelines.tuning.task import AT_ONCE, Tuning

if TYPE_CHECKING:
    from operators.models.saved.tower import OwnTower


class TuneMeasuring:
    """In float32, on images as an embed job prepares them."""

    def __init__(self, tuning: Tuning, templates: Sequence[str], device: TrainingDevice, progress: Progress) -> None:
        self._tuning, self._network = tuning, tuning.network
        self._templates, self._progress = templates, progress
        self._device = device_for(device)
        self._rows, self._tested = tuning.rows, tuning.split.tested
        # What class names say of images that are trained by labels shows whether the text space holds.
        self._names = bool(self._rows.classes) and tuning.network.model.text

    def base(self) -> ImageValues:
        """What the model is worth before it is tuned."""
        from operators.models.saved.tower import trainable_tower

        tower = trainable_tower(self._network.model, self._network.storage, text=self._network.with_text)
        return self.of(tower)

    def of(self, tower: "OwnTower") -> ImageValues:
        """The values of a model, which is left on the CPU, in evaluation mode."""
        import torch

        tower.eval().to(self._device)
        try:
            with torch.no_grad():
                return self._values(tower)
        finally:
            tower.to("cpu")

    def _values(self, tower: "OwnTower") -> ImageValues:
        vectors = self._images(tower)
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

    def _images(self, tower: "OwnTower") -> np.ndarray:
        positions, parts = self._rows.positions[self._tested], []
        for start in range(0, len(positions), AT_ONCE):
            images = self._tuning.images.plain(positions[start : start + AT_ONCE]).to(self._device)
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
