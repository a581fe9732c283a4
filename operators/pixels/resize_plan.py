"""Where an image lies in a model's input: its scaled size, and the window that is cut or padded. No pixels here."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from operators.pixels.preprocess import Preprocess

SCALES = (1 / 8, 1 / 4, 1 / 2)
"""Fractions of a JPEG's size at which it takes less time to decode than as a whole. Of the others that libjpeg-turbo
has three eighths takes as long: 20 ms of 4 megapixels, as the whole, and a half 10."""
SHRUNK_TIMES = 2
"""How many times the pixels that it is resized to, along each axis, an image has at least that is decoded smaller than
it is."""


class Span(NamedTuple):
    """One axis: the source's length, what it is scaled to, and the window of `length` from `start`, maybe negative."""

    source: int
    scaled: int
    start: int
    length: int


def plan(height: int, width: int, preprocess: Preprocess) -> tuple[Span, Span]:
    """(vertical, horizontal) for a source of `height` x `width`; rounded as torchvision, timm and open_clip round."""
    scaled_height, scaled_width = _scaled_size(height, width, preprocess)
    return (
        Span(height, scaled_height, _window_start(scaled_height, preprocess.height), preprocess.height),
        Span(width, scaled_width, _window_start(scaled_width, preprocess.width), preprocess.width),
    )


def smallest_scale(height: int, width: int, targets: Iterable[Preprocess]) -> float:
    """The smallest of `SCALES` at which a JPEG of `height` x `width` has pixels enough for all `targets`; 1 where none
    is large enough."""
    wanted = [_scaled_size(height, width, target) for target in targets]
    rows, columns = (SHRUNK_TIMES * max(lengths) for lengths in zip(*wanted, strict=True))
    return next((scale for scale in SCALES if height * scale >= rows and width * scale >= columns), 1.0)


class Extent(NamedTuple):
    """Where an image lies within the pixels of a smaller version of it, in pixels."""

    top: float
    left: float
    height: float
    width: float


def shrunk_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """(height, width) of the pixels that libjpeg gives: a last one that is only partly of the image is one."""
    return math.ceil(height * scale), math.ceil(width * scale)


def _scaled_size(height: int, width: int, preprocess: Preprocess) -> tuple[int, int]:
    to_height, to_width = preprocess.resize_height, preprocess.resize_width
    if preprocess.resize == "squash":
        return to_height, to_width
    if preprocess.resize == "shortest" and to_height == to_width:
        # torchvision's Resize(int) cuts the fraction off where timm's and open_clip's ResizeKeepRatio rounds it.
        short, long = sorted((height, width))
        scaled_long = int(to_height * long / short)
        return (scaled_long, to_height) if width <= height else (to_height, scaled_long)
    ratios = (height / to_height, width / to_width)
    ratio = max(ratios) if preprocess.resize == "longest" else min(ratios)
    return max(round(height / ratio), 1), max(round(width / ratio), 1)


def _window_start(scaled: int, length: int) -> int:
    """Start of the centred window; padding puts the odd pixel last, cropping rounds half to even."""
    return -((length - scaled) // 2) if length > scaled else round((scaled - length) / 2)


def inside(span: Span, *, in_output: bool) -> slice:
    """The part of the window that the scaled image covers, in coordinates of the output or of the scaled image."""
    first, last = max(span.start, 0), min(span.start + span.length, span.scaled)
    return slice(first - span.start, last - span.start) if in_output else slice(first, last)
