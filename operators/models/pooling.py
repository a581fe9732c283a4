"""From an image's tokens to one vector: class token, mean, generalised mean. Pure functions on tensors."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from operators.models.spec import ModelError, Pooling

GEM_EPS = 1e-6
"""Radenovic et al.'s own: a power that is no whole number takes no negative."""


class Tokens(NamedTuple):
    """What a network says of an image before it pools."""

    patches_NLC: torch.Tensor
    """One token a patch, or a cell of the feature map."""
    prefix_NPC: torch.Tensor | None = None
    """Class token first where there is one, then register tokens; None where there are none."""
    has_class_token: bool = False


def tokens_of_map(features_NCHW: torch.Tensor) -> Tokens:
    """A convolutional network's feature map: L = H * W cells, no class token."""
    return Tokens(features_NCHW.flatten(2).transpose(1, 2))


def available(*, has_class_token: bool, has_attention_pool: bool) -> tuple[Pooling, ...]:
    """The poolings of a network with these parts, in the order in which `Pooling` names them."""
    able: list[Pooling] = ["default"]
    able += ["cls", "avg", "cls_avg", "gem"] if has_class_token else ["avg", "gem"]
    if has_attention_pool:
        able.append("attn")
    return tuple(able)


def check_pooling(model_name: str, pooling: Pooling, able: Sequence[Pooling]) -> None:
    """Raises `ModelError` naming what the model can where it cannot do `pooling`."""
    if pooling in able:
        return
    lacks = {"attn": "no attention pool", "default": "no pooling of its own"}.get(pooling, "no class token")
    raise ModelError(
        f"model {model_name!r}: cannot do pooling {pooling!r}, since it has {lacks} there; "
        f"set model.pooling to one of {', '.join(able)}"
    )


def pool(tokens: Tokens, pooling: Pooling, gem_power: float) -> torch.Tensor:
    """(N, C), or (N, 2 C) for `cls_avg`, of the tokens' dtype.

    `default` and `attn` are the network's own to do: a ValueError here, as is `cls` without a class token.
    """
    patches, prefix, has_class_token = tokens
    if pooling == "avg":
        return patches.mean(1)
    if pooling == "gem":
        return generalised_mean(patches, gem_power)
    if pooling in ("cls", "cls_avg") and has_class_token and prefix is not None:
        return prefix[:, 0] if pooling == "cls" else torch.cat([prefix[:, 0], patches.mean(1)], 1)
    raise ValueError(f"pooling {pooling!r} is not to be had of tokens {'with' if has_class_token else 'without'} class")


def generalised_mean(patches_NLC: torch.Tensor, power: float) -> torch.Tensor:
    """(N, C): per channel, the mean of the powers, and its root; what is under `GEM_EPS` counts as that.

    Radenovic, Tolias, Chum 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation", equation 3. In float32
    and relative to the largest, so that no power overflows: float16 ends at 40 cubed.
    """
    positive = patches_NLC.to(torch.float32).clamp_min(GEM_EPS)
    largest_N1C = positive.amax(1, keepdim=True)
    mean = (positive / largest_N1C).pow(power).mean(1).pow(1 / power)
    return (largest_N1C.squeeze(1) * mean).to(patches_NLC.dtype)
