"""The blocks of a network in their order, by the names of their parameters."""

import re
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer, VisionTransformer

from operators.models.spec import ModelError

_OPEN_CLIP: dict[type, dict[str, Any]] = {
    VisionTransformer: {
        "stem": r"^conv1|^class_embedding|^positional_embedding|^ln_pre",
        "blocks": r"^transformer\.resblocks\.(\d+)",
    },
    TextTransformer: {
        "stem": r"^token_embedding|^positional_embedding|^cls_emb",
        "blocks": r"^transformer\.resblocks\.(\d+)",
    },
    ModifiedResNet: {"stem": r"^conv\d|^bn\d", "blocks": r"^layer(\d+)"},
}
"""In the form of timm's `group_matcher`."""


def blocks_of(name: str, network: torch.nn.Module) -> list[list[str]]:
    """Names of the parameters of each block of a tower, in order: blocks of transformers, stages of convolutional
    networks, as timm's `group_matcher(coarse=True)` tells them apart. What comes after the last block is of it; what
    comes before the first is of none.

    `name` is the model's, for errors. Raises `ModelError` for a network whose blocks are not known.
    """
    found = _within(network, "")
    if not found:
        raise ModelError(
            f"model {name!r}: the blocks of a {type(next(network.children(), network)).__name__} are not known here; "
            "train it with --trainable head or all"
        )
    return found


def _within(module: torch.nn.Module, prefix: str) -> list[list[str]]:
    matcher = next((found for kind, found in _OPEN_CLIP.items() if isinstance(module, kind)), None)
    if matcher is None and not isinstance(module, TimmModel) and hasattr(module, "group_matcher"):
        matcher = module.group_matcher(coarse=True)  # type: ignore[operator]
    if isinstance(matcher, dict):
        return _matched([name for name, _ in module.named_parameters()], matcher, prefix)
    children = [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]
    for at, (name, child) in enumerate(children):
        found = _within(child, f"{prefix}{name}.")
        if found:
            # What stands behind the network, such as open_clip's projection of a timm trunk.
            behind = [
                f"{prefix}{other}.{each}" for other, rest in children[at + 1 :] for each, _ in rest.named_parameters()
            ]
            return [*found[:-1], [*found[-1], *behind]]
    return []


def _matched(names: list[str], matcher: dict[str, Any], prefix: str) -> list[list[str]]:
    blocks: dict[tuple[int, ...], list[str]] = {}
    behind: list[str] = []
    for name in names:
        key = _block_of(name, matcher)
        if key is None:
            behind.append(prefix + name)
        elif key:
            blocks.setdefault(key, []).append(prefix + name)
    found = [blocks[key] for key in sorted(blocks)]
    return [*found[:-1], [*found[-1], *behind]] if found else []


def _block_of(name: str, matcher: dict[str, Any]) -> tuple[int, ...] | None:
    """What block a parameter is of, to be sorted by; () for the stem, None for what is in no block."""
    for order, (kind, rules) in enumerate(matcher.items()):
        for rule in [rules] if isinstance(rules, str) else [each[0] for each in rules or ()]:
            found = re.match(rule, name)
            if found is None:
                continue
            if kind == "stem":
                return ()
            numbers = [int(each) for each in found.groups() if each is not None and each.isdecimal()]
            return (order, *numbers) if numbers else None
    return None
