"""Towers over timm networks that we did not make: layers, norms, heads that attend, and what is refused."""

from typing import Any

import numpy as np
import pytest
import timm
import torch

from operators.models.load import describe
from operators.models.spec import ModelError, ModelSpec, parse_model_name
from operators.models.timm.features import TimmTower

SMALL_SWIN = {"img_size": 56, "embed_dim": 12, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2)}


def make(name: str, **options: Any) -> Any:
    torch.manual_seed(5)
    module = timm.create_model(name, num_classes=0, **options).eval()
    with torch.no_grad():
        for parameter_name, parameter in module.named_parameters():
            # Fresh norms and biases are ones and zeros, which would hide a norm left out.
            if parameter.ndim == 1:
                parameter.copy_(torch.randn(len(parameter)) * 0.2 + ("weight" in parameter_name))
    return module


def spec_of(**options: Any) -> ModelSpec:
    return parse_model_name("timm:net/random-0").model_copy(update=options)


def images(size: int) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def run(module: Any, x: torch.Tensor, **options: Any) -> np.ndarray:
    with torch.inference_mode():
        vectors: np.ndarray = TimmTower(module, spec_of(**options))(x).numpy()
    return vectors


def after(part: torch.nn.Module, module: Any, x: torch.Tensor) -> torch.Tensor:
    """What a part of the network gives, by a hook: no code in common with timm's own way to intermediate layers."""
    seen: list[torch.Tensor] = []
    handle = part.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.inference_mode():
        module(x)
    handle.remove()
    return seen[0]


def same(ours: np.ndarray, theirs: torch.Tensor) -> bool:
    return ours.shape == theirs.shape and np.allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [2, -4])
def test_a_block_is_named_from_either_end(layer: int) -> None:
    module, x = make("test_vit"), images(160)
    tokens = after(module.blocks[2], module, x)
    with torch.inference_mode():
        normed = module.norm(tokens)
    expected = {
        ("default", True): normed[:, 0],
        ("cls", True): normed[:, 0],
        ("avg", True): normed[:, 1:].mean(1),
        ("default", False): tokens[:, 0],
        ("cls_avg", False): torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1),
        ("gem", False): tokens[:, 1:].clamp(1e-6).pow(2).mean(1).pow(0.5),
    }
    for (pooling, final_norm), vectors in expected.items():
        ours = run(make("test_vit"), x, layer=layer, pooling=pooling, final_norm=final_norm, gem_power=2.0)
        assert same(ours, vectors), (pooling, final_norm)


def test_blocks_behind_the_layer_are_left_out() -> None:
    tower = TimmTower(make("test_vit"), spec_of(layer=1))
    assert len(tower.module.blocks) == 2
    sizes = [sum(p.numel() for p in part.parameters()) for part in (tower, make("test_vit"), make("test_vit").blocks)]
    assert sizes[0] == sizes[1] - sizes[2] * 4 // 6


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("test_vit", 160, {}),
        ("test_vit2", 160, {}),
        ("test_vit3", 160, {}),
        ("vit_tiny_patch16_dinov3_qkvb", 64, {"depth": 3}),
        ("eva02_tiny_patch14_224", 70, {"depth": 3, "img_size": 70}),
        ("vit_pe_core_tiny_patch16_384", 64, {"depth": 3, "img_size": 64}),
        ("test_convnext", 64, {}),
        ("swin_tiny_patch4_window7_224", 56, SMALL_SWIN),
        ("hiera_tiny_224", 224, {"stages": (1, 1, 1, 1), "embed_dim": 16}),
        ("test_resnet", 64, {}),
        ("poolformer_s12", 64, {}),
    ],
)
def test_the_last_layer_with_the_final_norm_is_the_network_itself(name: str, size: int, options: Any) -> None:
    """Whatever its own pooling and wherever its norm."""
    module, x = make(name, **options), images(size)
    with torch.inference_mode():
        whole = module(x)
    assert same(run(module, x), whole)
    assert same(run(make(name, **options), x, layer=-1), whole)


@pytest.mark.parametrize(
    ("name", "size", "options", "norm"),
    [
        ("test_vit2", 160, {}, "fc_norm"),
        ("test_convnext", 64, {}, "head.norm"),
        ("swin_tiny_patch4_window7_224", 56, SMALL_SWIN, "norm"),
    ],
)
def test_the_final_norm_is_left_out_when_asked(name: str, size: int, options: Any, norm: str) -> None:
    module, x = make(name, **options), images(size)
    bare = make(name, **options)
    parent, _, last = norm.rpartition(".")
    setattr(bare.get_submodule(parent), last, torch.nn.Identity())
    with torch.inference_mode():
        expected = bare(x)
    assert same(run(module, x, layer=-1, final_norm=False), expected.flatten(1))


def test_a_stage_of_widening_ones_has_no_final_norm() -> None:
    x = images(64)
    module = make("test_convnext")
    stage = after(module.stages[1], module, x)
    assert same(run(make("test_convnext"), x, layer=1, final_norm=False), stage.mean((2, 3)))
    says = (
        r"final norm is made for the \d+ channels of its last stage, 3, and stage 1 has .*; set model.final_norm=false"
    )
    for name, options in (("test_convnext", {}), ("swin_tiny_patch4_window7_224", SMALL_SWIN)):
        with pytest.raises(ModelError, match=says):
            TimmTower(make(name, **options), spec_of(layer=1))


def test_a_network_without_a_final_norm_has_nothing_to_leave_out() -> None:
    x = images(64)
    module = make("test_resnet")
    stage = after(module.layer2, module, x).mean((2, 3))
    assert same(run(make("test_resnet"), x, layer=2), stage)
    with pytest.raises(ModelError, match=r"no final norm; leave model\.final_norm out"):
        TimmTower(make("test_resnet"), spec_of(layer=2, final_norm=False))


def test_attention_takes_the_tokens_of_a_layer() -> None:
    x = images(160)
    module = make("test_vit3")
    tokens = after(module.blocks[1], module, x)
    with torch.inference_mode():
        expected = module.attn_pool(module.norm(tokens))
    for pooling in ("attn", "default"):
        assert same(run(make("test_vit3"), x, layer=1, pooling=pooling), expected)


def test_attention_as_a_head_is_made_for_the_last_stage() -> None:
    """CLIP's ResNet in timm's own clothes, of a third of its depth."""
    module, x = make("resnet50_clip", img_size=64), images(64)
    with torch.inference_mode():
        expected, features = module(x), module.forward_features(x)
    for options in ({}, {"pooling": "attn"}, {"layer": -1}):
        assert same(run(module, x, **options), expected)
    assert same(run(module, x, pooling="avg"), features.mean((2, 3)))
    with pytest.raises(ModelError, match=r"'default', .* set model.pooling to one of avg, gem$"):
        TimmTower(module, spec_of(layer=2))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "test_resnet",
            {"pooling": "cls"},
            "'cls', since it has no class token there; set model.pooling to one of default, avg, gem",
        ),
        ("test_resnet", {"pooling": "attn"}, "'attn', since it has no attention pool there"),
        ("test_vit2", {"pooling": "cls_avg"}, "no class token there; set model.pooling to one of default, avg, gem"),
        ("test_vit", {"layer": 6}, "has no layer 6; set model.layer to 0 to 5, or -6 to -1"),
        ("test_vit", {"layer": -7}, "has no layer -7; set model.layer to 0 to 5"),
        (
            "cait_xxs24_224",
            {"layer": 3},
            "'default', since it has no pooling of its own there; set model.pooling to one of avg, gem",
        ),
        (
            "cait_xxs24_224",
            {"layer": 3, "pooling": "cls"},
            "no class token there; set model.pooling to one of avg, gem",
        ),
    ],
)
def test_what_a_network_cannot_do_names_what_it_can(name: str, options: Any, says: str) -> None:
    with pytest.raises(ModelError) as error:
        TimmTower(make(name), spec_of(**options))
    assert says in str(error.value)
    assert "timm:net/random-0" in str(error.value)


def test_a_network_whose_features_are_no_patches_is_refused() -> None:
    """PiT gives its class token alone."""
    tower = TimmTower(make("pit_ti_224"), spec_of(pooling="avg"))
    with pytest.raises(ModelError, match=r"no patch tokens of .*; set model\.pooling to default$"):
        tower(images(224))


def test_a_class_token_of_another_name_is_not_taken_for_a_patch() -> None:
    """CoaT's first token is that, as its own pooling says, and its attributes do not."""
    module, x = make("coat_lite_tiny", img_size=64), images(64)
    with torch.inference_mode():
        assert same(run(module, x), module.forward_features(x)[:, 0])
    for options in ({"pooling": "avg"}, {"pooling": "gem"}, {"pooling": "cls"}, {"layer": -1, "pooling": "avg"}):
        with pytest.raises(ModelError, match=r"CoaT pools by a class token .* set model\.pooling to default and leave"):
            TimmTower(module, spec_of(**options))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("pit_ti_distilled_224", {}, "gives 1 tokens for the 49 cells"),
        ("coat_lite_tiny", {"global_pool": "avg"}, "gives 50 tokens for the 49 cells"),
    ],
)
def test_tokens_that_are_not_one_a_cell_are_not_pooled(name: str, options: Any, says: str) -> None:
    """Distilled PiT gives its class and distillation tokens alone."""
    module = make(name, **options)
    for pooling in ("avg", "gem"):
        with pytest.raises(ModelError, match=rf"{says} of its last feature map, .*; set model\.pooling to default$"):
            TimmTower(module, spec_of(pooling=pooling)).check_patches(224, 224)
    TimmTower(module, spec_of()).check_patches(224, 224)


def test_a_description_looks_at_the_tokens() -> None:
    with pytest.raises(ModelError, match="gives 1 tokens for the 49 cells"):
        describe(parse_model_name("timm:pit_ti_distilled_224/random-0").model_copy(update={"pooling": "avg"}))


def test_tokens_of_every_kind_are_one_a_cell() -> None:
    for name, size, options in (
        ("test_vit", 96, {"img_size": 96}),
        ("test_vit2", 160, {}),
        ("deit_tiny_distilled_patch16_224", 64, {"img_size": 64, "depth": 2}),
        ("vit_pe_core_tiny_patch16_384", 64, {"depth": 3, "img_size": 64}),
        ("swin_tiny_patch4_window7_224", 56, SMALL_SWIN),
        ("test_convnext", 64, {}),
        ("test_resnet", 75, {}),
    ):
        TimmTower(make(name, **options), spec_of(pooling="gem")).check_patches(size, size)


def test_a_distilled_network_has_no_class_token_pooling_of_its_own() -> None:
    """The mean of the class and the distillation token, which is none of ours."""
    name, options, x = "deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 2}, images(64)
    module = make(name, **options)
    with torch.inference_mode():
        tokens = module.forward_features(x)
    assert same(run(module, x), tokens[:, :2].mean(1))
    assert same(run(make(name, **options), x, layer=-1, pooling="cls"), tokens[:, 0])
    assert same(run(make(name, **options), x, layer=-1, pooling="avg"), tokens[:, 2:].mean(1))
    with pytest.raises(
        ModelError, match=r"no pooling of its own there; set model\.pooling to one of cls, avg, cls_avg"
    ):
        TimmTower(module, spec_of(layer=-1))


def test_a_network_that_pools_otherwise_is_asked_for_a_pooling() -> None:
    module, x = make("test_resnet", global_pool="avgmax"), images(64)
    with torch.inference_mode():
        assert same(run(module, x), module(x))
    with pytest.raises(ModelError, match=r"no pooling of its own there; set model\.pooling to one of avg, gem$"):
        TimmTower(module, spec_of(layer=2))


def test_a_trunk_that_does_not_pool_is_pooled() -> None:
    """As open_clip builds them, with a head of its own behind."""
    pooled, bare, x = make("test_resnet"), make("test_resnet", global_pool=""), images(64)
    with torch.inference_mode():
        assert bare(x).ndim == 4
        assert same(run(bare, x, pooling="avg"), pooled(x))
