"""The parts of a timm network that bear on pooling, read from its attributes."""

from inspect import signature
from typing import Any, NamedTuple

import torch
from timm.layers import ClNormMlpClassifierHead, NormMlpClassifierHead
from timm.layers.attention_pool2d import AttentionPool2d, RotAttentionPool2d

from operators.models.spec import Pooling


class Parts(NamedTuple):
    """The parts of a timm network that bear on pooling, read from its attributes: timm has no one place that names
    them."""

    has_class_token: bool
    num_prefix: int
    """Class, distillation and register tokens, before the patches in `forward_features`."""
    gives_prefix: bool
    """Whether `forward_intermediates` gives these tokens too."""
    channels_last: bool
    attention_head: bool
    """The head is CLIP's attention pool over a feature map."""
    attention_pool: bool
    """The network pools tokens by attention before its head."""
    own_pooling: Pooling | None
    """The network's own kind, in our words; None for a kind that is not among ours."""
    token_norm: bool
    """A final norm before the pool."""
    norm: bool
    """A final norm before or behind the pool."""
    channels: tuple[int, ...]
    """Channels of each layer that `forward_intermediates` gives."""

    @property
    def attends(self) -> bool:
        return self.attention_head or self.attention_pool


def parts_of(module: Any) -> Parts:
    head = getattr(module, "head", None)
    has_class_token = getattr(module, "cls_token", None) is not None
    num_prefix = getattr(module, "num_prefix_tokens", int(has_class_token))
    intermediates = getattr(module, "forward_intermediates", None)
    takes = signature(intermediates).parameters if intermediates else {}
    # `norm` of the columns, `norm_pre` of the stages; vision transformers have a `norm_pre` before their blocks.
    token_norm = is_there(module, "norm") or (not hasattr(module, "blocks") and is_there(module, "norm_pre"))
    return Parts(
        has_class_token=has_class_token,
        num_prefix=num_prefix,
        # With none to give, timm's relative-position transformer fails when asked.
        gives_prefix=bool(num_prefix) and "return_prefix_tokens" in takes,
        channels_last=getattr(module, "output_fmt", "NCHW") == "NHWC",
        attention_head=isinstance(head, AttentionPool2d | RotAttentionPool2d),
        attention_pool=is_there(module, "attn_pool"),
        own_pooling=_own_pooling(module),
        token_norm=token_norm,
        norm=token_norm or norm_behind_pool(module)[0] is not None,
        channels=_channels(module) if intermediates else (),
    )


def is_there(module: Any, name: str) -> bool:
    part = getattr(module, name, None)
    return part is not None and not isinstance(part, torch.nn.Identity)


def _own_pooling(module: Any) -> Pooling | None:
    if is_there(module, "dist_token"):
        # The mean of the class and the distillation token.
        return None
    head = getattr(module, "head", None)
    for place in (
        getattr(head, "global_pool", None),
        getattr(head, "pool_type", None),
        getattr(module, "global_pool", None),
    ):
        kind = getattr(place, "pool_type", place)
        if isinstance(kind, str):
            words: dict[str, Pooling] = {"token": "cls", "avg": "avg", "fast": "avg", "fastavg": "avg"}
            return words.get(kind)
    return None


def norm_behind_pool(module: Any) -> tuple[Any, bool]:
    """(the norm of a pooled vector, whether it is made for a map of one cell); (None, False) where there is none."""
    if is_there(module, "fc_norm"):
        return module.fc_norm, False
    head = getattr(module, "head", None)
    # Other heads have a norm too, but of what their own hidden layer gives.
    if isinstance(head, NormMlpClassifierHead | ClNormMlpClassifierHead | torch.nn.Sequential) and is_there(
        head, "norm"
    ):
        return head.norm, not isinstance(head, ClNormMlpClassifierHead)
    return None, False


def _channels(module: Any) -> tuple[int, ...]:
    info = getattr(module, "feature_info", ())
    return tuple(layer["num_chs"] for layer in getattr(info, "info", info))
