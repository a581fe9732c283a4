"""Positions that one of open_clip's own ViTs has learnt, brought to the grid of patches that is asked for."""

from math import isqrt, prod
from typing import Any

import torch
from torch.nn import functional

from operators.models.spec import ModelError, ModelSpec
from operators.models.weights.tensors import StateDict

POSITIONS = "visual.positional_embedding"

Size = tuple[int, int]
"""Height and width."""


def resample_positions(spec: ModelSpec, tensors: StateDict, visual: Any, trained: Size | None) -> None:
    """Replaces the file's positions, a class token and (rows * columns, width), by those of `visual`'s grid, resampled
    as `open_clip.model.resize_pos_embed` does.

    Not by that function itself: it takes as many patches for the same grid, whatever their shape, and every other grid
    for a square. `trained` is the size in pixels of the architecture's images; None where that is the size of `visual`.
    Raises `ModelError` where nothing says which grid the file's positions are of.
    """
    learnt = tensors.get(POSITIONS)
    if learnt is None or not hasattr(visual, "grid_size"):
        # timm's trunks are resampled by timm, and CLIP's ResNets are not at all.
        return
    grid: Size = visual.grid_size
    steps: Size = visual.patch_size
    own = grid if trained is None else (trained[0] // steps[0], trained[1] // steps[1])
    found = _grid_of(len(learnt) - 1, own, grid)
    if found is None:
        raise ModelError(
            f"model {spec.name!r}: its file has positions of {len(learnt) - 1} patches, which are neither a square nor "
            f"the {own[0]} x {own[1]} of its architecture; give the weights with an open_clip_config.json of their own "
            "size, as open_clip:local-dir:FOLDER"
        )
    if found != grid:
        # The grid behind the class token as a picture of `width` channels, channels last: torch 2.15 fills a grid of
        # one column with its first row where the map lies channel by channel.
        map_NCHW = learnt[1:].reshape(1, *found, -1).permute(0, 3, 1, 2)
        map_NCHW = functional.interpolate(map_NCHW, size=grid, mode="bicubic", antialias=True, align_corners=False)
        tensors[POSITIONS] = torch.cat([learnt[:1], map_NCHW.permute(0, 2, 3, 1).reshape(prod(grid), -1)])


def _grid_of(patches: int, own: Size, asked: Size) -> Size | None:
    """Rows and columns of the patches in a file: the architecture's, else a square, else as asked for."""
    square = (isqrt(patches), isqrt(patches))
    return next((each for each in (own, square, asked) if prod(each) == patches), None)
