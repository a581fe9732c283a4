"""From an image's tokens to one vector, or to one a region: class token, means. Pure functions on tensors."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torchvision.ops import roi_align

from operators.models.spec import ModelError, Pooling

GEM_EPS = 1e-6
"""Smallest value that `gem` takes a power of, as in Radenovic et al.: a fractional power takes no negative number."""


class Tokens(NamedTuple):
    """A network's tokens for images before it pools them."""

    patches_NLC: torch.Tensor
    """One token a patch, or a cell of the feature map."""
    prefix_NPC: torch.Tensor | None = None
    """The class token first where there is one, then register tokens; None where there are none."""
    has_class_token: bool = False
    grid: tuple[int, int] | None = None
    """Rows and columns of the patches, which are in reading order; None where their places are not known."""


def tokens_of_map(features_NCHW: torch.Tensor) -> Tokens:
    """The tokens of a convolutional network's feature map: L = H * W cells, no class token."""
    rows, columns = features_NCHW.shape[2:]
    return Tokens(features_NCHW.flatten(2).transpose(1, 2), grid=(rows, columns))


def grid_of(count: int, pixels_NCHW: torch.Tensor) -> tuple[int, int] | None:
    """(rows, columns) of `count` square patches over these images; None where no such grid has that many."""
    # Numbers, which a size is not while torch traces the network for OpenVINO.
    count, height, width = int(count), *map(int, pixels_NCHW.shape[2:])
    rows = max(1, round((count * height / width) ** 0.5))
    return (rows, count // rows) if count % rows == 0 else None


def available(*, has_class_token: bool, has_attention_pool: bool) -> tuple[Pooling, ...]:
    """The poolings of a network with these parts, in the order in which `Pooling` names them."""
    able: list[Pooling] = ["default"]
    able += ["cls", "avg", "cls_avg", "gem"] if has_class_token else ["avg", "gem"]
    if has_attention_pool:
        able.append("attn")
    return tuple(able)


def check_pooling(model_name: str, pooling: Pooling, able: Sequence[Pooling]) -> None:
    """Raises `ModelError`, naming what the model can do, where it cannot do `pooling`."""
    if pooling in able:
        return
    lacks = {"attn": "no attention pool", "default": "no pooling of its own"}.get(pooling, "no class token")
    raise ModelError(
        f"model {model_name!r}: cannot do pooling {pooling!r}, since it has {lacks} there; "
        f"set model.pooling to one of {', '.join(able)}"
    )


def pool(tokens: Tokens, pooling: Pooling, gem_power: float, rois_K5: torch.Tensor | None = None) -> torch.Tensor:
    """(N, C), or (N, 2 C) for `cls_avg`, in the tokens' dtype; (K, C) for the regions where there are any.

    `default` and `attn` are left to the network itself and raise `ValueError` here, as does `cls` without a class
    token.
    """
    patches, prefix, has_class_token, _ = tokens
    if pooling == "avg" and rois_K5 is not None:
        return pool_regions(tokens, rois_K5)
    if pooling == "avg":
        return patches.mean(1)
    if pooling == "gem":
        return generalised_mean(patches, gem_power)
    if pooling in ("cls", "cls_avg") and has_class_token and prefix is not None:
        return prefix[:, 0] if pooling == "cls" else torch.cat([prefix[:, 0], patches.mean(1)], 1)
    raise ValueError(f"pooling {pooling!r} is not to be had of tokens {'with' if has_class_token else 'without'} class")


def pool_regions(tokens: Tokens, rois_K5: torch.Tensor) -> torch.Tensor:
    """(K, C), in the tokens' dtype: each region's mean over the patches, by RoI-align with a single bin.

    `rois_K5` float32: the image's place in the batch, then x0, y0, x1, y1 as fractions of the model's input. Samples
    lie no further apart than patches and are interpolated between their centres, so that a region made of whole patches
    is their plain mean, and the whole input what pooling `avg` gives (He et al. 2017, "Mask R-CNN", section 3).
    """
    assert tokens.grid is not None
    rows, columns = tokens.grid
    patches = tokens.patches_NLC
    map_NCHW = patches.transpose(1, 2).reshape(len(patches), -1, rows, columns).to(torch.float32)
    scale = torch.tensor([1, columns, rows, columns, rows], dtype=torch.float32, device=rois_K5.device)
    # To a 1024th of a patch: a third of 12 patches is 4 of them, and not a rounding error more, which takes 5 samples.
    rois_K5 = (rois_K5 * scale).mul(1024).round().div(1024)
    # A pixel of a large image may be less, and of a box without width there are no samples: its mean would be 0.
    rois_K5[:, 3:] = torch.maximum(rois_K5[:, 3:], rois_K5[:, 1:3] + 1 / 1024)
    # In float32: not every device has a kernel for bfloat16, whose coordinates would be too coarse too.
    pooled: torch.Tensor = roi_align(map_NCHW, rois_K5, 1, sampling_ratio=-1, aligned=True)
    return pooled.flatten(1).to(patches.dtype)


def generalised_mean(patches_NLC: torch.Tensor, power: float) -> torch.Tensor:
    """(N, C): per channel, the mean of the powers, and its root; values under `GEM_EPS` count as `GEM_EPS`.

    Radenovic, Tolias, Chum 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation", equation 3. In float32 and
    relative to the largest, so that no power overflows: float16 ends at 40 cubed.
    """
    positive = patches_NLC.to(torch.float32).clamp_min(GEM_EPS)
    largest_N1C = positive.amax(1, keepdim=True)
    mean = (positive / largest_N1C).pow(power).mean(1).pow(1 / power)
    return (largest_N1C.squeeze(1) * mean).to(patches_NLC.dtype)
