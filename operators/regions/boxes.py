"""Where an image's regions lie: from the size of the image to boxes. NumPy only, no pixels here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from operators.base.errors import ErrorClass
from operators.regions.options import GridOptions, RegionsBase, TilesOptions

WHOLE = "whole"
KINDS = (WHOLE, "grid", "tile", "box", "detection", "patch")


class BadRegions(ValueError):
    """This image's regions cannot be made: the failure class and a message for the failures table."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The M regions of one image, by index."""

    kinds: Sequence[str]
    boxes: np.ndarray
    """(M, 4) float32: x0, y0, x1, y1 in pixels of the oriented image, the last two exclusive."""
    labels: Sequence[str | None]
    scores: Sequence[float | None]


def grid_boxes(width: float, height: float, rows: int, columns: int, overlap: float) -> np.ndarray:
    """(rows * columns, 4) float32: cells of one size, row by row, that cover the image from edge to edge.

    A cell shares `overlap` of its side with the next.
    """
    lefts, rights = _cells(width, columns, overlap)
    tops, bottoms = _cells(height, rows, overlap)
    return _product(lefts, tops, rights, bottoms)


def _cells(length: float, count: int, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    side = length / (1 + (count - 1) * (1 - overlap))
    starts = np.arange(count) * (side * (1 - overlap))
    return starts, starts + side


def tile_boxes(width: int, height: int, sizes: Sequence[int], overlap: float, max_regions: int) -> np.ndarray:
    """(M, 4) float32: square tiles of each size over the whole image, row by row.

    Tiles at the right and bottom edge are moved inward, so that all are whole. An image shorter than a tile along one
    axis has tiles of its own length there. Tiles that a further size would repeat are left out. Raises `BadRegions`
    before more than `max_regions` are made.
    """
    steps = {(min(size, width), min(size, height)): _step(size, overlap) for size in sizes}
    scales = [(w, h, step) for (w, h), step in steps.items()]
    count = sum((_after_first(width - w, step) + 1) * (_after_first(height - h, step) + 1) for w, h, step in scales)
    check_count(count, max_regions)
    boxes = [_tiles(_starts(width - w, step), _starts(height - h, step), w, h) for w, h, step in scales]
    return np.concatenate(boxes)


def _step(size: int, overlap: float) -> int:
    # 10 * (1 - 0.9) is a little under 1.
    return max(math.floor(size * (1 - overlap) + 1e-6), 1)


def _after_first(last: int, step: int) -> int:
    """The number of tiles that start after 0, where the last starts at `last`."""
    return -(-last // step)


def _starts(last: int, step: int) -> np.ndarray:
    return np.append(np.arange(0, last, step), last)


def _tiles(lefts: np.ndarray, tops: np.ndarray, width: int, height: int) -> np.ndarray:
    return _product(lefts, tops, lefts + width, tops + height)


def _product(lefts: np.ndarray, tops: np.ndarray, rights: np.ndarray, bottoms: np.ndarray) -> np.ndarray:
    """(rows * columns, 4) float32: every row of boxes from left to right."""
    x0, y0 = np.meshgrid(lefts, tops)
    x1, y1 = np.meshgrid(rights, bottoms)
    return np.stack([x0, y0, x1, y1], axis=-1).reshape(-1, 4).astype(np.float32)


def cut_regions(options: GridOptions | TilesOptions, width: int, height: int) -> Regions:
    """The cells or tiles of an image of this size, preceded by the whole image where asked. Raises `BadRegions`."""
    if isinstance(options, GridOptions):
        kind, boxes = "grid", grid_boxes(width, height, options.rows, options.columns, options.overlap)
    else:
        kind, boxes = "tile", tile_boxes(width, height, options.sizes, options.overlap, options.max_regions)
        if options.whole:  # of an image smaller than a tile, the tile is the same box again
            boxes = boxes[(boxes != (0, 0, width, height)).any(1)]
    return finished(options, kind, boxes, width, height, whole=options.whole)


def finished(
    options: RegionsBase,
    kind: str,
    boxes: np.ndarray,
    width: int,
    height: int,
    *,
    whole: bool = False,
    labels: Sequence[str | None] | None = None,
    scores: Sequence[float | None] | None = None,
) -> Regions:
    """The regions of an image from `boxes` (M, 4) of one `kind`, with `whole` first where asked, and as
    `without_regions` says where there is none. Raises `BadRegions` for none or too many of them."""
    if not len(boxes) and not whole and options.without_regions == "fail":
        raise BadRegions(ErrorClass.NO_REGIONS, "no region in this image, and regions.without_regions is fail")
    first = whole or not len(boxes)
    check_count(len(boxes) + first, options.max_regions)
    image = np.array([[0, 0, width, height]] * first, np.float32).reshape(-1, 4)
    return Regions(
        kinds=[WHOLE] * first + [kind] * len(boxes),
        boxes=np.concatenate([image, boxes]).astype(np.float32),
        labels=[None] * first + list(labels or [None] * len(boxes)),
        scores=[None] * first + list(scores or [None] * len(boxes)),
    )


def check_count(count: int, max_regions: int) -> None:
    """Raises `BadRegions` for too many."""
    if count > max_regions:
        raise BadRegions(ErrorClass.TOO_MANY_REGIONS, f"{count} regions, more than regions.max_regions = {max_regions}")


def pixel_box(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of every pixel that `box` touches in an image of this size: one pixel at least."""
    x0, y0, x1, y1 = box
    left, top = min(max(math.floor(x0), 0), width - 1), min(max(math.floor(y0), 0), height - 1)
    right, bottom = max(min(math.ceil(x1), width), left + 1), max(min(math.ceil(y1), height), top + 1)
    return left, top, right, bottom
