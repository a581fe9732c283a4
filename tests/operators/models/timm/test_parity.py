"""timm towers through Pixlake against plain timm on the same photographs, for each pooling that applies."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from made.photographs import cosines, decoded
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelSpec, Pooling, parse_model_name
from operators.models.timm.family import _preprocess
from operators.models.timm.features import TimmTower
from operators.models.towers.embedder import TorchEmbedder
from operators.pixels.preprocess import PreprocessOverrides

Vectors = Callable[[Any, torch.Tensor], torch.Tensor]


def whole(module: Any, x: torch.Tensor) -> torch.Tensor:
    vectors: torch.Tensor = module(x)
    return vectors


def gem(patches_NLC: torch.Tensor) -> torch.Tensor:
    return patches_NLC.double().clamp(min=1e-6).pow(3).mean(1).pow(1 / 3).float()


def tokens(prefix: int, pooling: str) -> Vectors:
    """Of a network of tokens, `prefix` of them before the patches. One of `norm` and `fc_norm` does nothing."""

    def vectors(module: Any, x: torch.Tensor) -> torch.Tensor:
        features = module.forward_features(x)
        cls, patches = features[:, 0], features[:, prefix:]
        if pooling == "cls_avg":
            return torch.cat([module.fc_norm(cls), module.fc_norm(patches.mean(1))], 1)
        pooled: torch.Tensor = module.fc_norm({"cls": cls, "avg": patches.mean(1), "gem": gem(patches)}[pooling])
        return pooled

    return vectors


def gem_of_map(module: Any, x: torch.Tensor) -> torch.Tensor:
    return gem(module.forward_features(x).flatten(2).transpose(1, 2))


def gem_then_head_norm(module: Any, x: torch.Tensor) -> torch.Tensor:
    norm = module.head.norm
    return torch.nn.functional.layer_norm(gem_of_map(module, x), (norm.weight.numel(),), norm.weight, norm.bias, 1e-6)


def gem_of_last_axis(module: Any, x: torch.Tensor) -> torch.Tensor:
    return gem(module.forward_features(x).flatten(1, 2))


def avg_then_hidden_layer(module: Any, x: torch.Tensor) -> torch.Tensor:
    pooled = module.forward_features(x).mean((2, 3), keepdim=True)
    hidden: torch.Tensor = module.act2(module.norm_head(module.conv_head(pooled))).flatten(1)
    return hidden


def of_tokens(prefix: int, *poolings: str) -> dict[str, Vectors]:
    return {"default": whole, **{pooling: tokens(prefix, pooling) for pooling in poolings}}


WITH_CLASS = ("cls", "avg", "cls_avg", "gem")
ATTENDS: dict[str, Vectors] = {"attn": whole}
OF_MAP: dict[str, Vectors] = {"default": whole, "avg": whole, "gem": gem_of_map}


class Network(NamedTuple):
    name: str
    size: int
    poolings: dict[str, Vectors]
    """What each pooling that applies is, in the words of plain timm."""


NETWORKS = [
    Network("resnet18", 96, OF_MAP),
    Network("efficientnet_b0", 96, OF_MAP),
    Network("mobilenetv3_small_050", 96, {"default": whole, "avg": avg_then_hidden_layer}),
    Network("convnext_atto", 96, {**OF_MAP, "gem": gem_then_head_norm}),
    Network("swin_tiny_patch4_window7_224", 112, {"default": whole, "avg": whole, "gem": gem_of_last_axis}),
    Network("vit_tiny_patch16_224", 96, of_tokens(1, *WITH_CLASS)),
    Network("deit_tiny_distilled_patch16_224", 96, {"cls": tokens(2, "cls"), "avg": tokens(2, "avg")}),
    Network("eva02_tiny_patch14_224", 98, of_tokens(1, *WITH_CLASS)),
    Network("vit_small_patch14_reg4_dinov2", 98, of_tokens(5, *WITH_CLASS)),
    Network("vit_tiny_patch16_dinov3_qkvb", 96, of_tokens(5, *WITH_CLASS)),
    Network("vit_pe_core_tiny_patch16_384", 96, {**of_tokens(1, *WITH_CLASS), **ATTENDS}),
    Network("test_vit2", 160, of_tokens(1, "avg", "gem")),
    Network("test_vit3", 160, {**of_tokens(1, "avg", "gem"), **ATTENDS}),
    Network("test_mambaout", 96, {"default": whole, "avg": whole}),
]


@lru_cache(maxsize=1)
def plain(name: str, size: int) -> tuple[Any, Any]:
    """The network and its transform, of plain timm."""
    torch.manual_seed(3)
    fixed = timm.get_pretrained_cfg(name).fixed_input_size
    module = timm.create_model(name, num_classes=0, **({"img_size": size} if fixed else {})).eval()
    config = timm.data.resolve_model_data_config(module, args={"input_size": (3, size, size)})
    return module, timm.data.create_transform(**config, is_training=False)


def spec_of(network: Network, pooling: str = "default") -> ModelSpec:
    named = parse_model_name(f"timm:{network.name}/random-3")
    overrides = PreprocessOverrides(image_size=network.size)
    return named.model_copy(update={"pooling": pooling, "preprocess": overrides})


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Network) else str(value)


def compare(network: Network, ours: dict[str, np.ndarray], pixels: np.ndarray, paths: list[Path]) -> None:
    """`ours` by pooling, of our pixels."""
    module, transform = plain(network.name, network.size)
    inputs = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
    to_tensor, normalise = transform.transforms[-2:]
    same = torch.stack([normalise(to_tensor(Image.fromarray(image))) for image in pixels])
    for pooling, vectors in network.poolings.items():
        with torch.inference_mode():
            theirs, given_our_pixels = (vectors(module, x).numpy() for x in (inputs, same))
        assert cosines(ours[pooling], theirs).min() >= 0.9999, pooling
        assert cosines(ours[pooling], given_our_pixels).min() >= 0.99999, pooling
        largest = np.abs(given_our_pixels).max()
        assert np.allclose(ours[pooling], given_our_pixels, rtol=1e-3, atol=1e-4 * largest), pooling


def pooled(network: Network, module: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """By pooling, of one network for all: building it is what takes the time."""
    runtime, preprocess = Runtime(batch_size=3), _preprocess(spec_of(network), module)
    towers = {pooling: TimmTower(module, spec_of(network, pooling)) for pooling in network.poolings}
    return {pooling: TorchEmbedder(tower, preprocess, runtime).embed(pixels) for pooling, tower in towers.items()}


@pytest.mark.parametrize("network", NETWORKS, ids=name_of)
def test_vectors_are_those_of_plain_timm(network: Network, photographs: list[Path]) -> None:
    model = describe(spec_of(network))
    pixels = decoded(photographs, model.preprocess)
    embedder = load_image_embedder(model, Runtime(batch_size=3))
    whole_way = embedder.embed(pixels)
    assert whole_way.shape == (len(photographs), model.dim)
    module = embedder.tower.module  # type: ignore[attr-defined]
    compare(network, {**pooled(network, module, pixels), "default": whole_way}, pixels, photographs)


def test_a_map_head_is_the_default_of_siglip(photographs: list[Path]) -> None:
    """93 million weights: built once for both sides."""
    network = Network("vit_base_patch16_siglip_224", 64, {"default": whole, "attn": whole, "avg": tokens(0, "avg")})
    module, _ = plain(network.name, network.size)
    pixels = decoded(photographs, _preprocess(spec_of(network), module))
    compare(network, pooled(network, module, pixels), pixels, photographs)


SMALL = [network for network in NETWORKS if network.name.startswith(("mobile", "test", "convnext"))]


@pytest.mark.parametrize("network", SMALL, ids=name_of)
def test_one_at_a_time_and_many_at_once_agree(network: Network) -> None:
    model = describe(spec_of(network))
    pixels = np.random.default_rng(0).integers(0, 256, (32, network.size, network.size, 3), np.uint8)
    embedder = load_image_embedder(model, Runtime(batch_size=32))
    one, many = np.concatenate([embedder.embed(each[None]) for each in pixels]), embedder.embed(pixels)
    assert cosines(one, many).min() >= 0.99999


@pytest.mark.parametrize(("pooling", "dim"), [("default", 64), ("cls", 64), ("avg", 64), ("cls_avg", 128), ("gem", 64)])
def test_a_pooling_goes_the_whole_way(pooling: Pooling, dim: int) -> None:
    """Of a class-token network: described, loaded and embedded as its spec says."""
    spec = parse_model_name("timm:test_vit/random-3").model_copy(update={"pooling": pooling})
    model = describe(spec)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), np.uint8)
    ours = load_image_embedder(model, Runtime()).embed(pixels)
    torch.manual_seed(3)
    module = timm.create_model("test_vit", num_classes=0).eval()
    with torch.inference_mode():
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        theirs = of_tokens(1, *WITH_CLASS)[pooling](module, x).numpy()
    assert (model.dim, ours.shape) == (dim, (2, dim))
    assert cosines(ours, theirs).min() >= 0.99999
