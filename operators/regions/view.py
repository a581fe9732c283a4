"""Maps parts of an image to parts of a model's input, and back: boxes only, no pixels here."""

import numpy as np

from operators.pixels.preprocess import Preprocess
from operators.pixels.resize_plan import Span, inside, plan


def view_of_boxes(boxes: np.ndarray, height: int, width: int, preprocess: Preprocess) -> np.ndarray:
    """From (K, 4) boxes in pixels of an oriented image to (K, 4) float32 in fractions of the model's input, clipped to
    it.

    A box that the model does not see, since its crop cuts it away, has no width or no height there.
    """
    vertical, horizontal = plan(height, width, preprocess)
    seen = np.empty((len(boxes), 4), np.float64)
    seen[:, 0::2] = _into_input(boxes[:, 0::2].astype(np.float64), horizontal)
    seen[:, 1::2] = _into_input(boxes[:, 1::2].astype(np.float64), vertical)
    return seen.astype(np.float32)


def cells_of_input(cells: int, height: int, width: int, preprocess: Preprocess) -> tuple[np.ndarray, np.ndarray]:
    """The cells of a grid of `cells` x `cells` over the model's input, row by row: (boxes in fractions of the input,
    boxes in the oriented image), both (M, 4) float32. Cells of padding alone are left out."""
    vertical, horizontal = plan(height, width, preprocess)
    edges = np.arange(cells + 1) / cells
    grid = _boxes(edges, edges)
    shown = _boxes(_out_of_input(edges, horizontal), _out_of_input(edges, vertical))
    some = (shown[:, 2] > shown[:, 0]) & (shown[:, 3] > shown[:, 1])
    return grid[some], shown[some]


def shows_nothing(seen: np.ndarray) -> np.ndarray:
    """(K,) bool: which boxes from `view_of_boxes` have no part in the model's input."""
    nothing: np.ndarray = (seen[:, 2] <= seen[:, 0]) | (seen[:, 3] <= seen[:, 1])
    return nothing


def without_padding(pixels: np.ndarray, height: int, width: int, preprocess: Preprocess) -> np.ndarray:
    """The part of `pixels` (H, W, 3) that shows the image of `height` x `width`, without the model's padding."""
    vertical, horizontal = plan(height, width, preprocess)
    return pixels[inside(vertical, in_output=True), inside(horizontal, in_output=True)]


def boxes_of_view(boxes: np.ndarray, height: int, width: int, preprocess: Preprocess) -> np.ndarray:
    """From (K, 4) boxes in pixels of what `without_padding` gives to (K, 4) float32 in pixels of the oriented image,
    clipped to it."""
    vertical, horizontal = plan(height, width, preprocess)
    shown = np.empty((len(boxes), 4), np.float64)
    for first, span in ((0, horizontal), (1, vertical)):
        inset = inside(span, in_output=True).start
        shown[:, first::2] = _out_of_input((boxes[:, first::2].astype(np.float64) + inset) / span.length, span)
    return shown.astype(np.float32)


def _into_input(values: np.ndarray, span: Span) -> np.ndarray:
    clipped: np.ndarray = np.clip((values * span.scaled / span.source - span.start) / span.length, 0, 1)
    return clipped


def _out_of_input(fractions: np.ndarray, span: Span) -> np.ndarray:
    clipped: np.ndarray = np.clip((fractions * span.length + span.start) * span.source / span.scaled, 0, span.source)
    return clipped


def _boxes(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(rows * columns, 4) float32: the boxes between neighbouring edges, row by row."""
    y0, x0 = np.meshgrid(down[:-1], across[:-1], indexing="ij")
    y1, x1 = np.meshgrid(down[1:], across[1:], indexing="ij")
    return np.stack([x0, y0, x1, y1], -1).reshape(-1, 4).astype(np.float32)
