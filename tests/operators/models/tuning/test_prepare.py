"""What is trained of a network, and what stands still: timm's and open_clip's, with adapters and without."""

import ctypes
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from made.open_clip_folders import CONFIGS, build
from operators.base.errors import UserError
from operators.models.open_clip.features import JointSpace
from operators.models.open_clip.towers import build_text
from operators.models.saved.tower import OwnTower, Projection
from operators.models.spec import ModelError, parse_model_name
from operators.models.timm.features import TimmTower
from operators.models.tuning.blocks import blocks_of
from operators.models.tuning.prepare import checkpoint_gradients, freeze_unused, make_trainable, without_adapters
from operators.models.tuning.trainable import Trainable, parse_trainable

PIXELS = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def of_timm(name: str = "test_efficientnet") -> OwnTower:
    torch.manual_seed(0)
    options = {"img_size": 64} if "vit" in name else {}
    module = timm.create_model(name, num_classes=0, **options)
    return OwnTower(TimmTower(module, parse_model_name(f"timm:{name}/random-0")).eval())


def of_open_clip(name: str = "clip") -> OwnTower:
    visual = JointSpace(build(CONFIGS[name]).visual).eval()
    return OwnTower(visual, None, build_text(CONFIGS[name]).eval())


def trained(tower: OwnTower) -> set[str]:
    return {name for name, each in tower.named_parameters() if each.requires_grad}


def test_what_a_user_may_write() -> None:
    assert parse_trainable("lora:16") == Trainable(part="lora", number=16)
    assert str(parse_trainable("last:2")) == "last:2"
    for wrong in ("last", "lora:0", "last:-1", "everything", "all:2"):
        with pytest.raises(UserError, match="write head, last:N"):
            parse_trainable(wrong)


@pytest.mark.parametrize(
    ("name", "count", "behind"),
    [("test_efficientnet", 5, "bn2.weight"), ("test_resnet", 4, "layer4.0.conv1.weight"), ("test_vit", 6, "norm.bias")],
)
def test_stages_and_blocks_of_timm(name: str, count: int, behind: str) -> None:
    blocks = blocks_of(name, of_timm(name).image)
    assert len(blocks) == count
    assert f"module.{behind}" in blocks[-1]
    assert blocks[0][0].startswith(("module.blocks.0.", "module.layer1."))


@pytest.mark.parametrize(
    ("name", "count", "behind"),
    [
        ("clip", 3, "visual.proj"),
        ("resnet", 4, "visual.attnpool.c_proj.weight"),
        ("convnext", 4, "visual.head.proj.weight"),
    ],
)
def test_stages_and_blocks_of_open_clip(name: str, count: int, behind: str) -> None:
    blocks = blocks_of(name, JointSpace(build(CONFIGS[name]).visual))
    assert len(blocks) == count
    assert behind in blocks[-1]
    assert blocks[0][0].startswith(("visual.transformer.resblocks.0.", "visual.layer1.", "visual.trunk.stages.0."))


def test_the_last_block_alone_moves_and_batch_norms_keep_their_statistics() -> None:
    tower = of_timm()
    [note] = make_trainable("m", tower, parse_trainable("last:1"), dim=256, seed=0)
    assert trained(tower) == {f"image.{each}" for each in blocks_of("m", tower.image)[-1]}
    before = {name: each.clone() for name, each in tower.state_dict().items() if "running" in name}
    tower(PIXELS).sum().backward()
    assert all(torch.equal(each, before[name]) for name, each in tower.state_dict().items() if "running" in name)
    assert "keep the statistics" in note
    with pytest.raises(ModelError, match="has 5 blocks or stages; --trainable last:6 is too many"):
        make_trainable("m", of_timm(), parse_trainable("last:6"), dim=256, seed=0)


def test_with_all_every_weight_moves_and_batch_norms_learn() -> None:
    tower = of_timm()
    [note] = make_trainable("m", tower, parse_trainable("all"), dim=256, seed=0)
    assert len(trained(tower)) == len([*tower.parameters()])
    assert tower.training
    assert "learn new ones" in note


def test_a_head_begins_as_none() -> None:
    tower = of_timm()
    with torch.no_grad():
        plain = nn.functional.normalize(tower(PIXELS), dim=1)
    make_trainable("m", tower, parse_trainable("head"), dim=256, seed=0)
    assert trained(tower) == {"projection.weight"}
    assert torch.allclose(tower(PIXELS), plain, atol=1e-6)
    with pytest.raises(ModelError, match="has a projection of its own"):
        make_trainable("m", OwnTower(tower.image, Projection(256, 8)), parse_trainable("head"), dim=8, seed=0)


@pytest.mark.parametrize("tower", [lambda: of_timm("test_vit"), of_open_clip], ids=["timm", "open_clip"])
def test_merged_adapters_give_the_vectors_of_unmerged_ones(tower: Any) -> None:
    """And every adapter learns, those of open_clip's attention too."""
    made = tower()
    names = [name for name, _ in made.named_parameters()]
    with torch.no_grad():
        before = made(PIXELS)
    make_trainable("m", made, parse_trainable("lora:4"), dim=64, seed=3)
    assert trained(made)
    assert all("lora_" in name for name in trained(made))
    assert any(".attn." in name for name in trained(made))
    with torch.no_grad():
        assert torch.allclose(made(PIXELS), before, atol=1e-5)
    rate = torch.optim.SGD([each for each in made.parameters() if each.requires_grad], lr=0.05)
    for _ in range(2):
        made(PIXELS).square().sum().backward()
        rate.step()
    assert all(bool(each.abs().max() > 0) for name, each in made.named_parameters() if "lora_B" in name)
    with torch.no_grad():
        tuned = made(PIXELS)
        merged = without_adapters(made).eval()(PIXELS)
    assert not torch.allclose(tuned, before, atol=1e-3)
    assert torch.allclose(merged, tuned, atol=1e-4 * float(tuned.abs().max()))
    assert sorted(name for name, _ in made.named_parameters()) == sorted(names)


def test_adapters_of_both_towers() -> None:
    tower = of_open_clip()
    make_trainable("m", tower, parse_trainable("lora:2"), dim=24, seed=0, text=True)
    assert {name.split(".")[0] for name in trained(tower)} == {"image", "text"}
    make_trainable("m", other := of_open_clip(), parse_trainable("last:1"), dim=24, seed=0)
    assert {name.split(".")[0] for name in trained(other)} == {"image"}


def test_a_network_without_linear_layers_is_told_what_to_do() -> None:
    with pytest.raises(ModelError, match="no linear layers of attention or MLPs for adapters; use --trainable last:N"):
        make_trainable("m", of_timm("test_resnet"), parse_trainable("lora:4"), dim=256, seed=0)


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'pixlake\[train\]'"):
        make_trainable("m", of_timm("test_vit"), parse_trainable("lora:4"), dim=64, seed=0)


def test_gradient_checkpoints_change_no_gradient() -> None:
    found = []
    for asked in (False, True):
        tower = of_timm("test_vit")
        make_trainable("m", tower, parse_trainable("last:2"), dim=64, seed=0)
        assert not asked or checkpoint_gradients(tower)
        tower(PIXELS).square().sum().backward()
        found.append({name: each.grad.numpy() for name, each in tower.named_parameters() if each.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(np.allclose(each, found[1][name], atol=1e-5) for name, each in found[0].items())
    assert not checkpoint_gradients(OwnTower(nn.Linear(2, 2)))


class HeapNumbers(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t) for name in ("arena", "o", "s", "mapped", "mapped_bytes", "u", "f", "n", "r", "k")
    ]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc of 2.33 or newer")
def test_with_checkpointing_what_is_freed_goes_back_to_the_system() -> None:
    glibc = ctypes.CDLL(None)
    glibc.mallinfo2.restype = HeapNumbers

    def tensors_and_mapped() -> tuple[list[torch.Tensor], int]:
        """16 tensors, into which nothing is written, and how many are in memory of their own."""
        before = glibc.mallinfo2().mapped_bytes
        tensors = [torch.empty(24 << 20, dtype=torch.uint8) for _ in range(16)]
        return tensors, (int(glibc.mallinfo2().mapped_bytes) - before) // (24 << 20)

    try:
        # What glibc comes to by itself, once tensors have been freed.
        glibc.mallopt(-3, 32 << 20)
        # Kept, for they take what room there is in the heap.
        kept, mapped = tensors_and_mapped()
        assert (len(kept), mapped) == (16, 0)
        assert checkpoint_gradients(of_timm("test_vit"))
        assert tensors_and_mapped()[1] > 8
    finally:
        glibc.mallopt(-3, 32 << 20)


def test_what_has_no_part_in_the_vectors_is_frozen() -> None:
    tower = of_timm("test_vit")
    tower.image.module.unused = nn.Linear(3, 3)
    make_trainable("m", tower, parse_trainable("all"), dim=64, seed=0)
    freeze_unused(tower, [tower(PIXELS)])
    frozen = {name for name, each in tower.named_parameters() if not each.requires_grad}
    assert frozen == {"image.module.unused.weight", "image.module.unused.bias"}
    assert all(each.grad is None for each in tower.parameters())
