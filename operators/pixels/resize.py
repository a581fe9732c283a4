"""Resizes, crops and pads uint8 pixels as open_clip's and timm's own transforms do, several times as fast."""

import numpy as np
from PIL import Image

from operators.pixels.libtorch import resample
from operators.pixels.preprocess import Preprocess
from operators.pixels.resize_plan import Extent, Span, inside, plan

_PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_WHOLE_LIMIT = 16_777_216
"""Most pixels of an enlarged image that is made whole and then cropped, as the reference does. Beyond it (3 x 20000 to
a shorter side of 224 would be 1 GB) only the crop is computed."""


def fit(pixels: np.ndarray, preprocess: Preprocess, out: np.ndarray) -> None:
    """Write `pixels` (H, W, 3) uint8, C-contiguous, into `out` (preprocess.height, preprocess.width, 3) uint8."""
    vertical, horizontal = plan(pixels.shape[0], pixels.shape[1], preprocess)
    if vertical.scaled < vertical.length or horizontal.scaled < horizontal.length:
        out[:] = preprocess.fill
    target = (inside(vertical, in_output=True), inside(horizontal, in_output=True))
    if _too_large_whole(vertical, horizontal):
        whole = Extent(0, 0, vertical.source, horizontal.source)
        out[target] = _window_only(pixels, whole, vertical, horizontal, preprocess)
        return
    scaled = _scale(pixels, vertical, horizontal, preprocess.interpolation)
    out[target] = scaled[inside(vertical, in_output=False), inside(horizontal, in_output=False)]


def fit_shrunk(
    pixels: np.ndarray, preprocess: Preprocess, out: np.ndarray, *, size: tuple[int, int], extent: Extent
) -> None:
    """As `fit` of an image of `size` (height, width), which fills the `extent` of `pixels`.

    It begins and ends at fractions of a pixel. Taken for whole ones, the output would be off by up to 0.4 of a pixel:
    PSNR 45 dB and not 56 for a photograph of 1411 x 1411 at a half.
    """
    vertical, horizontal = plan(*size, preprocess)
    if vertical.scaled < vertical.length or horizontal.scaled < horizontal.length:
        out[:] = preprocess.fill
    target = (inside(vertical, in_output=True), inside(horizontal, in_output=True))
    if extent.top or extent.left or preprocess.interpolation == "nearest":
        # Torch's kernel begins with the first pixel.
        out[target] = _window_only(pixels, extent, vertical, horizontal, preprocess)
        return
    source = extent.height, extent.width
    scaled = resample(pixels, vertical.scaled, horizontal.scaled, preprocess.interpolation, source)
    out[target] = scaled[inside(vertical, in_output=False), inside(horizontal, in_output=False)]


def _too_large_whole(vertical: Span, horizontal: Span) -> bool:
    scaled = vertical.scaled * horizontal.scaled
    return scaled > _WHOLE_LIMIT and scaled > vertical.source * horizontal.source


def _window_only(
    pixels: np.ndarray, extent: Extent, vertical: Span, horizontal: Span, preprocess: Preprocess
) -> np.ndarray:
    """The covered part of the window, resampled straight from the part of the source that it shows."""
    rows, columns = inside(vertical, in_output=False), inside(horizontal, in_output=False)
    by, bx = extent.height / vertical.scaled, extent.width / horizontal.scaled
    left, top = extent.left + columns.start * bx, extent.top + rows.start * by
    box = (left, top, left + (columns.stop - columns.start) * bx, top + (rows.stop - rows.start) * by)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    return np.asarray(Image.fromarray(pixels).resize(size, _PILLOW[preprocess.interpolation], box=box))


def _scale(pixels: np.ndarray, vertical: Span, horizontal: Span, interpolation: str) -> np.ndarray:
    """(vertical.scaled, horizontal.scaled, 3) uint8: by torch where it is within rounding of Pillow, else by Pillow."""
    if (vertical.scaled, horizontal.scaled) == pixels.shape[:2]:
        return pixels
    enlarges = vertical.scaled > vertical.source or horizontal.scaled > horizontal.source
    if interpolation == "nearest" or enlarges:
        # Enlarging, torch's 16-bit weights round more pixels the other way than Pillow's: 62 to 70 dB, not 70 to 80.
        size = (horizontal.scaled, vertical.scaled)
        return np.asarray(Image.fromarray(pixels).resize(size, _PILLOW[interpolation]))
    if vertical.source - vertical.scaled > 2 * (horizontal.source - horizontal.scaled):
        # Pillow 13 takes the vertical pass first here; the pass in between rounds to uint8, so the order shows.
        pixels = resample(pixels, vertical.scaled, pixels.shape[1], interpolation)
    return resample(pixels, vertical.scaled, horizontal.scaled, interpolation)
