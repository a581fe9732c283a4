"""An image tower over any timm network: which layer, which tokens, how pooled."""

from typing import Any

import torch

from operators.models.spec import ModelError, ModelSpec, Pooling
from operators.models.timm.parts import Parts, norm_behind_pool, parts_of
from operators.models.towers.pooling import Tokens, available, check_pooling, grid_of, pool, tokens_of_map


class TimmTower(torch.nn.Module):
    """`module` is a timm network without classifier (`num_classes=0`), of any architecture.

    Pooling `default` without a layer is the network's own forward. Another pooling replaces the network's own, and all
    around it stays: the final norm before, `fc_norm` or the head's norm after. With a layer the tokens come from timm's
    `forward_intermediates`, `default` is the network's own kind of pooling, and blocks after the layer are removed from
    `module`. Raises `ModelError` for what the network cannot do, naming what it can.
    """

    def __init__(self, module: torch.nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.module: Any = module
        self.spec = spec
        self.parts = parts_of(module)
        self.layer: int | None = None
        self.pooling: Pooling = spec.pooling
        _check_class_token(spec, module, self.parts)
        if spec.layer is not None:
            self.layer = _layer_index(spec, self.parts)
            _check_norm(spec, self.parts, self.layer)
            self.pooling = _pooling_at_layer(spec, self.parts, self.layer)
            _drop_blocks_behind(self.module, self.parts, self.layer)
        else:
            able = available(has_class_token=self.parts.has_class_token, has_attention_pool=self.parts.attends)
            check_pooling(spec.name, spec.pooling, able)

    def check_patches(self, height: int, width: int) -> None:
        """Raises `ModelError` where the pooled tokens are not exactly one a cell of the last feature map.

        timm does not say which tokens of a network are patches; a class token of an unknown name would be pooled too.
        Networks without `forward_intermediates` have nothing to compare with.
        """
        if self.layer is not None or self.pooling in ("default", "attn") or not self.parts.channels:
            return
        with torch.inference_mode():
            pixels_NCHW = torch.zeros(1, 3, height, width)
            features = self.module.forward_features(pixels_NCHW)
            count = self._tokens(features, pixels_NCHW).patches_NLC.shape[1]
            (last_NCHW,) = self.module.forward_intermediates(pixels_NCHW, indices=1, intermediates_only=True)
        cells = last_NCHW.shape[2] * last_NCHW.shape[3]
        if count != cells:
            raise ModelError(
                f"model {self.spec.name!r}: {type(self.module).__name__} gives {count} tokens for the {cells} cells of "
                "its last feature map, and which are patches is not known; set model.pooling to default"
            )

    def check_regions(self, height: int, width: int) -> None:
        """Raises `ModelError` where it is unknown which part of an image a token stands for.

        timm's `forward_intermediates` puts tokens into their places; the network's own tokens may be in another order.
        """
        if self.layer is not None:
            return
        with torch.inference_mode():
            pixels_NCHW = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) - 0.5
            features = self.module.forward_features(pixels_NCHW)
            tokens = self._tokens(features, pixels_NCHW)
            if features.ndim == 4 or (tokens.grid is not None and self._in_order(tokens.patches_NLC, pixels_NCHW)):
                return
        raise ModelError(
            f"model {self.spec.name!r}: which part of an image a token of {type(self.module).__name__} is of is not "
            "known; set model.layer=-1, or cut the regions out of the image (regions.kind grid, tiles or boxes)"
        )

    def _in_order(self, patches_NLC: torch.Tensor, pixels_NCHW: torch.Tensor) -> bool:
        if not self.parts.channels:
            return False
        norm = {"norm": True} if self.parts.token_norm else {}
        (last_NCHW,) = self.module.forward_intermediates(pixels_NCHW, indices=1, intermediates_only=True, **norm)
        placed_NLC = tokens_of_map(last_NCHW).patches_NLC
        same_shape = placed_NLC.shape == patches_NLC.shape
        return same_shape and torch.allclose(placed_NLC, patches_NLC, rtol=1e-3, atol=1e-4)

    def forward(self, pixels_NCHW: torch.Tensor, rois_K5: torch.Tensor | None = None) -> torch.Tensor:
        """From normalised (N, 3, H, W) to (N, dim), or to (K, dim) with pooling `avg` over K regions in place of the
        whole."""
        if self.layer is not None:
            return self._at_layer(pixels_NCHW, self.layer, rois_K5)
        if self.pooling in ("default", "attn"):
            vectors: torch.Tensor = self.module(pixels_NCHW)
            return vectors
        features = self.module.forward_features(pixels_NCHW)
        pooled = pool(self._tokens(features, pixels_NCHW), self.pooling, self.spec.gem_power, rois_K5)
        return self._each_part(pooled, lambda part: self._head(part, features))

    def _tokens(self, features: torch.Tensor, pixels_NCHW: torch.Tensor) -> Tokens:
        if isinstance(features, torch.Tensor) and features.ndim == 4:
            return tokens_of_map(features.permute(0, 3, 1, 2) if self.parts.channels_last else features)
        count = self.parts.num_prefix
        if not isinstance(features, torch.Tensor) or features.ndim != 3 or features.shape[1] <= count:
            raise ModelError(
                f"model {self.spec.name!r}: timm gives no patch tokens of {type(self.module).__name__}; "
                "set model.pooling to default"
            )
        patches_NLC, prefix_NPC = features[:, count:], features[:, :count] if count else None
        grid = grid_of(patches_NLC.shape[1], pixels_NCHW)
        return Tokens(patches_NLC, prefix_NPC, self.parts.has_class_token, grid)

    def _head(self, pooled_NC: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """The network's own head applied to vectors, each at every place over which the head would pool."""
        if self.parts.attends:
            return self._pooled_norm(pooled_NC)
        if features.ndim == 3:
            out: torch.Tensor = self.module.forward_head(pooled_NC[:, None].expand(-1, self.parts.num_prefix + 1, -1))
            return out if out.ndim == 2 else out[:, 0]
        out = self.module.forward_head(
            pooled_NC[:, None, None] if self.parts.channels_last else pooled_NC[:, :, None, None]
        )
        return out.flatten(1)

    def _at_layer(self, pixels_NCHW: torch.Tensor, layer: int, rois_K5: torch.Tensor | None) -> torch.Tensor:
        options: dict[str, Any] = {"indices": [layer], "stop_early": True, "intermediates_only": True}
        if self.spec.final_norm and self.parts.token_norm:
            options["norm"] = True
        if self.parts.gives_prefix:
            options["return_prefix_tokens"] = True
        (found,) = self.module.forward_intermediates(pixels_NCHW, **options)
        features_NCHW, prefix_NPC = found if isinstance(found, tuple) else (found, None)
        patches_NLC, *_, grid = tokens_of_map(features_NCHW)
        if self.pooling != "attn":
            tokens = Tokens(patches_NLC, prefix_NPC, self.parts.has_class_token, grid)
            pooled = pool(tokens, self.pooling, self.spec.gem_power, rois_K5)
        elif self.parts.attention_head:
            pooled = self.module.head(features_NCHW)
        else:
            both = patches_NLC if prefix_NPC is None else torch.cat([prefix_NPC, patches_NLC], 1)
            pooled = self.module.pool(both)
        return self._each_part(pooled, self._pooled_norm) if self.spec.final_norm else pooled

    def _each_part(self, pooled: torch.Tensor, head: Any) -> torch.Tensor:
        """`head` applied to the vectors; for `cls_avg`, which is two vectors side by side, to each of the two."""
        if self.pooling != "cls_avg":
            vectors: torch.Tensor = head(pooled)
            return vectors
        return torch.cat([head(part) for part in pooled.chunk(2, 1)], 1)

    def _pooled_norm(self, pooled_NC: torch.Tensor) -> torch.Tensor:
        norm, on_map = norm_behind_pool(self.module)
        if norm is None:
            return pooled_NC
        vectors: torch.Tensor = norm(pooled_NC[:, :, None, None]).flatten(1) if on_map else norm(pooled_NC)
        return vectors


def _check_class_token(spec: ModelSpec, module: Any, parts: Parts) -> None:
    """Raises `ModelError` for a network whose class token is not where timm's others have theirs: CoaT has one a scale,
    under names of its own, so it is unknown which tokens are patches.

    Attention heads pool by a token as well, but make it themselves.
    """
    by_token = parts.own_pooling == "cls" and not parts.attends
    if not by_token or parts.has_class_token or (spec.pooling == "default" and spec.layer is None):
        return
    raise ModelError(
        f"model {spec.name!r}: {type(module).__name__} pools by a class token that is not where timm's other networks "
        "have theirs; set model.pooling to default and leave model.layer out"
    )


def _layer_index(spec: ModelSpec, parts: Parts) -> int:
    count, layer = len(parts.channels), spec.layer or 0
    if not count:
        raise ModelError(f"model {spec.name!r}: timm gives no intermediate layers of it; leave model.layer out")
    if not -count <= layer < count:
        raise ModelError(
            f"model {spec.name!r}: has no layer {layer}; set model.layer to 0 to {count - 1}, or -{count} to -1"
        )
    return layer % count


def _check_norm(spec: ModelSpec, parts: Parts, layer: int) -> None:
    """Raises `ModelError` where the final norm does not fit: it fits every block of a column of equal blocks, but only
    the last of stages that widen."""
    if not spec.final_norm and not parts.norm:
        # The same vectors would be in two spaces.
        raise ModelError(f"model {spec.name!r}: its tokens have no final norm; leave model.final_norm out")
    last = len(parts.channels) - 1
    if not (spec.final_norm and parts.norm) or layer == last or len(set(parts.channels)) == 1:
        return
    raise ModelError(
        f"model {spec.name!r}: its final norm is made for the {parts.channels[last]} channels of its last stage, "
        f"{last}, and stage {layer} has {parts.channels[layer]}; set model.final_norm=false"
    )


def _drop_blocks_behind(module: Any, parts: Parts, layer: int) -> None:
    """Remove blocks after the layer, which would be loaded onto every device for nothing. Stages stay: not all networks
    keep them in one list."""
    blocks = getattr(module, "blocks", ())
    if len(blocks) == len(parts.channels):
        module.blocks = blocks[: layer + 1]


def _pooling_at_layer(spec: ModelSpec, parts: Parts, layer: int) -> Pooling:
    """The meaning of `default` at a layer, else the pooling asked for, where the layer can have it."""
    attends = parts.attention_pool or (parts.attention_head and layer == len(parts.channels) - 1)
    has_class_token = parts.has_class_token and parts.gives_prefix
    own = ("attn" if attends else None) if parts.attends else parts.own_pooling
    able = available(has_class_token=has_class_token, has_attention_pool=attends)
    if own not in able:
        able = tuple(name for name in able if name != "default")
    check_pooling(spec.name, spec.pooling, able)
    return own if spec.pooling == "default" and own else spec.pooling
