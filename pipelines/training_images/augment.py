"""Changed looks of a training image: a pure function of the seed, the step and the image's position."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A random crop in the original's shape, resized to the model's input, a flip and light changes of colour, by
    torchvision's v2 transforms: the crop of Szegedy et al. 2015, "Going deeper with convolutions"."""

    height: int
    width: int
    """The model's input, in pixels."""
    seed: int
    scale: tuple[float, float] = (0.5, 1.0)
    """Share of the original's area that is cut out."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    colour: float = 0.2
    """Largest relative change of brightness, contrast and saturation; 0 for none."""

    def apply(self, whole_NSSC: np.ndarray, shapes_N2: np.ndarray, step: int, positions_N: np.ndarray) -> np.ndarray:
        """From (N, S, S, 3) uint8 RGB, each the whole image squashed, of (N, 2) original heights and widths, to
        (N, height, width, 3) uint8. The same step and position give the same pixels, whatever else is in the batch."""
        made = np.empty((len(whole_NSSC), self.height, self.width, 3), np.uint8)
        for at, (pixels, shape, position) in enumerate(zip(whole_NSSC, shapes_N2, positions_N, strict=True)):
            made[at] = self._one(pixels, shape, step, int(position))
        return made

    def _one(self, pixels_SSC: np.ndarray, shape: np.ndarray, step: int, position: int) -> np.ndarray:
        import torch
        from torchvision.transforms import v2
        from torchvision.transforms.v2 import functional

        [seed] = np.random.SeedSequence([self.seed, step, position]).generate_state(1, np.uint64)
        image = torch.from_numpy(np.ascontiguousarray(pixels_SSC)).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed >> np.uint64(1)))
            top, left, height, width = self._crop(v2, image.shape[-1], int(shape[0]), int(shape[1]))
            size = [self.height, self.width]
            # Bicubic as models resize; of a crop of the squashed image, so that it has the original's proportions.
            image = functional.resized_crop(
                image, top, left, height, width, size, interpolation=v2.InterpolationMode.BICUBIC, antialias=True
            )
            image = self._rest(v2)(image)
        made: np.ndarray = image.permute(1, 2, 0).numpy()
        return made

    def _crop(self, v2: Any, side: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the crop in the squashed image: drawn in the original's proportions."""
        import torch

        # Of a size at which whole pixels are no coarser than the stored ones.
        longest = max(height, width)
        drawn_height, drawn_width = (max(1, round(each * 2 * side / longest)) for each in (height, width))
        cropping = v2.RandomResizedCrop((self.height, self.width), scale=self.scale, ratio=self.ratio)
        crop = cropping.make_params([torch.empty((1, drawn_height, drawn_width), device="meta")])
        down, across = side / drawn_height, side / drawn_width
        top, left = round(crop["top"] * down), round(crop["left"] * across)
        tall, wide = max(1, round(crop["height"] * down)), max(1, round(crop["width"] * across))
        return min(top, side - 1), min(left, side - 1), min(tall, side - top), min(wide, side - left)

    def _rest(self, v2: Any) -> Any:
        steps = [v2.RandomHorizontalFlip()] if self.flip else []
        if self.colour:
            steps.append(v2.ColorJitter(brightness=self.colour, contrast=self.colour, saturation=self.colour))
        return v2.Compose(steps or [v2.Identity()])


def standardised(pixels_NHWC: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...], device: str) -> "Tensor":
    """(N, 3, H, W) float32 as a network takes them, from uint8; `mean` and `std` are of RGB in 0..1."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(pixels_NHWC)).to(device).permute(0, 3, 1, 2)
    shift, scale = (torch.tensor(each, device=device).mul(255).view(1, 3, 1, 1) for each in (mean, std))
    return pixels.float().sub(shift).div(scale).contiguous(memory_format=torch.channels_last)
