"""Poolings and layers of open_clip towers, each against a computation that shares nothing with ours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from made.open_clip_folders import CONFIGS, plain, write_folder
from made.photographs import cosines
from operators.models.load import describe, load_image_embedder, load_text_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.pixels.preprocess import PreprocessOverrides

SIZES = {"siglip": 64, "eva": 56}
"""Where a timm trunk's own size is larger than a test needs."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    parent = tmp_path_factory.mktemp("folders")
    return {name: write_folder(parent / name, name) for name in CONFIGS if name != "siglip2"}


def described(folder: Path, name: str, **options: Any) -> ModelDescription:
    size = PreprocessOverrides(image_size=SIZES.get(name))
    return describe(
        parse_model_name(f"open_clip:local-dir:{folder}").model_copy(update={"preprocess": size, **options})
    )


def pixels_of(model: ModelDescription) -> np.ndarray:
    shape = (3, model.preprocess.height, model.preprocess.width, 3)
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def embedded(model: ModelDescription) -> np.ndarray:
    return load_image_embedder(model, Runtime(batch_size=2)).embed(pixels_of(model))


def tower_and_input(folder: Path, model: ModelDescription) -> tuple[Any, torch.Tensor]:
    """The image tower that open_clip loads, and its input."""
    visual = plain(f"local-dir:{folder}", SIZES.get(folder.name))[0].visual
    mean, std = (torch.tensor(each) for each in (model.preprocess.mean, model.preprocess.std))
    return visual, ((torch.from_numpy(pixels_of(model)) / 255 - mean) / std).permute(0, 3, 1, 2)


def hooked(visual: Any, part: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """What `part` gives while the whole tower runs."""
    found: list[torch.Tensor] = []
    handle = part.register_forward_hook(lambda module, args, out: found.append(out))
    with torch.inference_mode():
        visual(inputs)
    handle.remove()
    return found[0]


def pooled(tokens_NLC: np.ndarray, pooling: str, prefix: int, power: float = 3.0) -> np.ndarray:
    """In float64 NumPy: `prefix` tokens, the first of them the class token, and then the patches."""
    first, patches = tokens_NLC[:, 0].astype(np.float64), tokens_NLC[:, prefix:].astype(np.float64)
    ways = {
        "cls": lambda: first,
        "avg": lambda: patches.mean(1),
        "cls_avg": lambda: np.concatenate([first, patches.mean(1)], 1),
        "gem": lambda: (np.maximum(patches, 1e-6) ** power).mean(1) ** (1 / power),
    }
    result: np.ndarray = ways[pooling]()
    return result


def layer_norm(x: np.ndarray, norm: Any) -> np.ndarray:
    weight, bias = (each.detach().double().numpy() for each in (norm.weight, norm.bias))
    centred = x - x.mean(-1, keepdims=True)
    result: np.ndarray = centred / np.sqrt(x.var(-1, keepdims=True) + norm.eps) * weight + bias
    return result


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert cosines(ours, theirs).min() >= 0.99999


@pytest.mark.parametrize("pooling", ["cls", "avg", "cls_avg", "gem"])
@pytest.mark.parametrize("name", ["clip", "clipa", "coca", "eva"])
def test_tokens_of_a_transformer_are_pooled(folders: dict[str, Path], name: str, pooling: str) -> None:
    model = described(folders[name], name, pooling=pooling, gem_power=2.5)
    assert not model.text
    visual, inputs = tower_and_input(folders[name], model)
    blocks = visual.trunk.blocks if name == "eva" else visual.transformer.resblocks
    tokens = hooked(visual, blocks[-1], inputs).numpy()
    if name == "coca":
        # Its norm is behind its attention pool.
        expected = pooled(tokens, pooling, 1, 2.5)
    elif name == "clipa":
        parts = np.split(pooled(tokens, pooling, 1, 2.5), 2 if pooling == "cls_avg" else 1, 1)
        expected = np.concatenate([layer_norm(part, visual.ln_post) for part in parts], 1)
    else:
        expected = pooled(layer_norm(tokens, visual.trunk.norm if name == "eva" else visual.ln_post), pooling, 1, 2.5)
    close(embedded(model), expected)


def test_siglip_has_patches_and_a_register_and_no_class_token(folders: dict[str, Path]) -> None:
    for pooling in ("avg", "gem"):
        model = described(folders["siglip"], "siglip", pooling=pooling)
        visual, inputs = tower_and_input(folders["siglip"], model)
        tokens = hooked(visual, visual.trunk.norm, inputs).numpy()
        close(embedded(model), pooled(tokens, pooling, visual.trunk.num_prefix_tokens))


@pytest.mark.parametrize("pooling", ["avg", "gem"])
@pytest.mark.parametrize("name", ["resnet", "convnext"])
def test_cells_of_a_feature_map_are_pooled(folders: dict[str, Path], name: str, pooling: str) -> None:
    model = described(folders[name], name, pooling=pooling)
    visual, inputs = tower_and_input(folders[name], model)
    last = visual.layer4 if name == "resnet" else visual.trunk.stages
    cells = pooled(hooked(visual, last, inputs).flatten(2).transpose(1, 2).numpy(), pooling, 0)
    # ConvNeXt's norm is in its head, behind the pool.
    close(embedded(model), cells if name == "resnet" else layer_norm(cells, visual.trunk.head.norm))


def test_attention_pools_are_the_models_own_without_the_projection(folders: dict[str, Path]) -> None:
    for name in ("coca", "siglip", "resnet"):
        model = described(folders[name], name, pooling="attn")
        visual, inputs = tower_and_input(folders[name], model)
        part = {"coca": "ln_post", "siglip": "trunk.attn_pool", "resnet": "attnpool"}[name]
        expected = hooked(visual, visual.get_submodule(part), inputs).numpy()
        # CoCa's first query is for the images, the others are for its captions.
        close(embedded(model), expected[:, 0] if name == "coca" else expected)


@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("layer", [0, -2, -1])
@pytest.mark.parametrize("name", ["clip", "eva"])
def test_a_layer_is_the_output_of_its_block(folders: dict[str, Path], name: str, layer: int, final_norm: bool) -> None:
    model = described(folders[name], name, pooling="cls_avg", layer=layer, final_norm=final_norm)
    visual, inputs = tower_and_input(folders[name], model)
    blocks = visual.trunk.blocks if name == "eva" else visual.transformer.resblocks
    tokens = hooked(visual, blocks[layer], inputs).numpy()
    norm = visual.trunk.norm if name == "eva" else visual.ln_post
    close(embedded(model), pooled(layer_norm(tokens, norm) if final_norm else tokens, "cls_avg", 1))


def test_a_layer_is_pooled_as_the_model_itself_pools(folders: dict[str, Path]) -> None:
    for name, pooling in (("clip", "cls"), ("clipa", "avg"), ("coca", "attn"), ("eva", "cls")):
        own, named = (described(folders[name], name, layer=-2, pooling=each) for each in ("default", pooling))
        assert not own.text
        assert np.array_equal(embedded(own), embedded(named))


@pytest.mark.parametrize("layer", [0, 2, -1])
def test_stages_of_a_resnet(folders: dict[str, Path], layer: int) -> None:
    model = described(folders["resnet"], "resnet", pooling="avg", layer=layer)
    visual, inputs = tower_and_input(folders["resnet"], model)
    part = visual.avgpool if layer == 0 else visual.layer2 if layer == 2 else visual.layer4
    close(embedded(model), hooked(visual, part, inputs).mean((2, 3)).numpy())


def test_layers_that_are_not_used_are_not_held(folders: dict[str, Path]) -> None:
    whole, first = (described(folders["clip"], "clip", pooling="cls", layer=layer) for layer in (-1, 0))
    assert first.num_parameters < whole.num_parameters * 0.6


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("clip", {"pooling": "attn"}, "set model.pooling to one of default, cls, avg, cls_avg, gem"),
        ("resnet", {"pooling": "cls"}, "set model.pooling to one of default, avg, gem, attn"),
        ("siglip", {"pooling": "cls_avg"}, "set model.pooling to one of default, avg, gem, attn"),
        ("convnext", {"pooling": "cls"}, "set model.pooling to one of default, avg, gem"),
        ("resnet", {"layer": 1}, "no pooling of its own there; set model.pooling to one of avg, gem"),
        ("resnet", {"layer": 1, "pooling": "attn"}, "no attention pool there; set model.pooling to one of avg, gem"),
        ("clip", {"layer": 3}, "has no layer 3; set model.layer to 0 to 2, or -3 to -1"),
        ("resnet", {"layer": -6, "pooling": "avg"}, "has no layer -6; set model.layer to 0 to 4, or -5 to -1"),
        (
            "coca",
            {"layer": 0, "pooling": "cls", "final_norm": False},
            "no final norm there; leave model.final_norm out",
        ),
        ("resnet", {"layer": 1, "pooling": "avg", "final_norm": False}, "no final norm there"),
        ("eva", {"layer": 12}, "has no layer 12; set model.layer to 0 to 11, or -12 to -1"),
    ],
)
def test_what_a_tower_cannot_do_names_what_it_can(
    folders: dict[str, Path], name: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelError) as error:
        described(folders[name], name, **options)
    assert says in str(error.value)


def test_words_are_refused_where_vectors_are_not_in_their_space(folders: dict[str, Path]) -> None:
    assert described(folders["clip"], "clip").text
    for options, own in (({"pooling": "avg"}, "pooling 'avg'"), ({"layer": -1}, "pooling 'default' of layer -1")):
        with pytest.raises(ModelError) as error:
            load_text_embedder(described(folders["clip"], "clip", **options))
        assert f"with {own} gives vectors outside the space of its text tower" in str(error.value)
        assert "embed the images with the default pooling and layer to search by words" in str(error.value)
