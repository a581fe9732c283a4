"""A student's images, as its network takes them, from those that are stored decoded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.training_images.augment import Augmentation, standardised
from pipelines.training_images.stored import StoredImages

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StoredStudentImages:
    """Numbers are positions among the stored images."""

    images: StoredImages
    augmentation: Augmentation
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def changed(self, numbers_N: np.ndarray, looks_N: np.ndarray) -> "Tensor":
        """(N, 3, height, width) float32: a look of each image that depends on its position and the look alone."""
        made = np.empty((len(numbers_N), self.images.height, self.images.width, 3), np.uint8)
        whole, shapes = self.images.whole(numbers_N), self.images.shapes(numbers_N)
        for look in np.unique(looks_N):
            own = looks_N == look
            made[own] = self.augmentation.apply(whole[own], shapes[own], int(look), numbers_N[own])
        return standardised(made, self.mean, self.std, "cpu")

    def plain(self, numbers_N: np.ndarray) -> "Tensor":
        """(N, 3, height, width) float32, as an embed job prepares them."""
        return standardised(self.images.seen(numbers_N), self.mean, self.std, "cpu")
