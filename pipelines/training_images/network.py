"""Stored images as a network takes them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.training_images.augment import Augmentation, standardised
from pipelines.training_images.stored import StoredImages

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class NetworkImages:
    """Images by their positions among those that are stored."""

    images: StoredImages
    augmentation: Augmentation | None
    """None: a changed look is the plain one."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def changed(self, positions_N: np.ndarray, step: int) -> "Tensor":
        """(N, 3, height, width) float32 on the CPU: cropped and coloured, the same for a step and position."""
        if self.augmentation is None:
            return self.plain(positions_N)
        whole, shapes = self.images.whole(positions_N), self.images.shapes(positions_N)
        return standardised(self.augmentation.apply(whole, shapes, step, positions_N), self.mean, self.std, "cpu")

    def plain(self, positions_N: np.ndarray) -> "Tensor":
        """(N, 3, height, width) float32 on the CPU, as an embed job prepares them."""
        return standardised(self.images.seen(positions_N), self.mean, self.std, "cpu")
