"""What is used of an open_clip image tower: its vector in the joint space, or its own features pooled as asked."""

from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer

from operators.models.spec import ModelError, ModelSpec
from operators.models.timm.features import TimmTower
from operators.models.towers.pooling import Tokens, available, check_pooling, grid_of, pool, tokens_of_map


def in_joint_space(spec: ModelSpec) -> bool:
    """Whether vectors end in the projection that the text tower also ends in: no other pooling or layer is asked
    for."""
    return spec.pooling == "default" and spec.layer is None


def image_features(spec: ModelSpec, visual: Any) -> torch.nn.Module:
    """A tower from normalised (N, 3, H, W) to (N, dim). Removes from `visual` what it does not need.

    Raises `ModelError` for a pooling or layer that the tower cannot give.
    """
    if in_joint_space(spec):
        return JointSpace(visual)
    if isinstance(visual, VisionTransformer):
        return TransformerFeatures(spec, visual)
    if isinstance(visual, ModifiedResNet):
        return ResNetFeatures(spec, visual)
    assert isinstance(visual, TimmModel)
    # Where the trunk has a classifier, that is the projection.
    visual.trunk.reset_classifier(0)
    return TimmTower(visual.trunk, spec)


STAGES = 5


class JointSpace(torch.nn.Module):
    """The model's own vector. CoCa gives tokens beside it, which are for its captions."""

    def __init__(self, visual: torch.nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        out = self.visual(pixels_NCHW)
        vectors: torch.Tensor = out[0] if isinstance(out, tuple) else out
        return vectors


class TransformerFeatures(torch.nn.Module):
    """open_clip's own vision transformer without its projection.

    The final norm stays where the model has it: before the pool, or after it (CLIPA). CoCa's comes after its attention
    pool and has another width than the tokens: other poolings take the tokens as the block gives them.
    """

    def __init__(self, spec: ModelSpec, visual: Any) -> None:
        super().__init__()
        has_attention_pool = visual.attn_pool is not None
        check_pooling(spec.name, spec.pooling, available(has_class_token=True, has_attention_pool=has_attention_pool))
        if spec.layer is not None:
            blocks = visual.transformer.resblocks
            visual.transformer.resblocks = blocks[: checked_layer(spec, len(blocks)) + 1]
            if not spec.final_norm:
                if has_attention_pool and spec.pooling not in ("default", "attn"):
                    _refuse_without_norm(spec)
                visual.ln_post = torch.nn.Identity()
        visual.proj = None
        self.visual = visual
        self.pooling, self.gem_power = spec.pooling, spec.gem_power
        self.norm_before = not has_attention_pool and not visual.final_ln_after_pool
        self.norm_behind = not has_attention_pool and visual.final_ln_after_pool

    def check_regions(self, height: int, width: int) -> None:
        """Does nothing: its patches are always in reading order."""

    def forward(self, pixels_NCHW: torch.Tensor, rois_K5: torch.Tensor | None = None) -> torch.Tensor:
        """From normalised (N, 3, H, W) to (N, dim), or to (K, dim) with pooling `avg` over K regions in place of the
        whole."""
        if self.pooling in ("default", "attn"):
            out = self.visual(pixels_NCHW)
            vectors: torch.Tensor = out[0] if isinstance(out, tuple) else out
            return vectors
        found = self.visual.forward_intermediates(
            pixels_NCHW,
            indices=1,
            normalize_intermediates=self.norm_before,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        patches_NLC, prefix_NPC = found["image_intermediates"][0], found["image_intermediates_prefix"][0]
        tokens = Tokens(patches_NLC, prefix_NPC, True, grid_of(patches_NLC.shape[1], pixels_NCHW))
        pooled = pool(tokens, self.pooling, self.gem_power, rois_K5)
        if not self.norm_behind:
            return pooled
        # `cls_avg` is two vectors side by side.
        parts = pooled.chunk(2 if self.pooling == "cls_avg" else 1, 1)
        return torch.cat([self.visual.ln_post(part) for part in parts], 1)


class ResNetFeatures(torch.nn.Module):
    """CLIP's ResNet: the cells of a stage's feature map, where stage 0 is the stem. It has no final norm.

    Its attention pool takes only the last stage, and itself ends in the projection.
    """

    def __init__(self, spec: ModelSpec, visual: Any) -> None:
        super().__init__()
        able = available(has_class_token=False, has_attention_pool=True)
        check_pooling(spec.name, spec.pooling, able if spec.layer is None else ("avg", "gem"))
        if spec.layer is not None and not spec.final_norm:
            _refuse_without_norm(spec)
        self.last = STAGES - 1 if spec.layer is None else checked_layer(spec, STAGES)
        for unused in range(self.last + 1, STAGES):
            setattr(visual, f"layer{unused}", torch.nn.Identity())
        if spec.pooling != "attn":
            visual.attnpool = torch.nn.Identity()
        self.visual = visual
        self.pooling, self.gem_power = spec.pooling, spec.gem_power

    def check_regions(self, height: int, width: int) -> None:
        """Does nothing: its cells are a feature map."""

    def forward(self, pixels_NCHW: torch.Tensor, rois_K5: torch.Tensor | None = None) -> torch.Tensor:
        """From normalised (N, 3, H, W) to (N, dim), or to (K, dim) with pooling `avg` over K regions in place of the
        whole."""
        if self.pooling == "attn":
            vectors: torch.Tensor = self.visual(pixels_NCHW)
            return vectors
        found = self.visual.forward_intermediates(pixels_NCHW, indices=[self.last], intermediates_only=True)
        return pool(tokens_of_map(found["image_intermediates"][0]), self.pooling, self.gem_power, rois_K5)


def _refuse_without_norm(spec: ModelSpec) -> None:
    """Raises `ModelError`: the same vectors would be in two spaces, one with a norm that is not there and one
    without."""
    raise ModelError(f"model {spec.name!r}: its tokens have no final norm there; leave model.final_norm out")


def checked_layer(spec: ModelSpec, count: int) -> int:
    """The layer as a number from 0. Raises `ModelError` with the valid range."""
    layer = spec.layer or 0
    if not -count <= layer < count:
        raise ModelError(
            f"model {spec.name!r}: has no layer {layer}; set model.layer to 0 to {count - 1}, or -{count} to -1"
        )
    return layer % count
