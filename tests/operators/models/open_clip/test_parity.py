"""Eight families of open_clip through Pixlake against ten lines of plain open_clip on the same photographs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from made.open_clip_folders import CONFIGS, plain, write_folder
from made.photographs import cosines, decoded
from operators.models.load import ImageEmbedder, describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelSpec, Precision, parse_model_name
from operators.pixels.preprocess import PreprocessOverrides

# Name (a folder of ours where CONFIGS has it) and the size at which it is built; None is its own.
MODELS: dict[str, tuple[str, int | tuple[int, int] | None]] = {
    "CLIP ViT": ("ViT-S-32-alt", None),
    "CLIP ViT, resampled": ("clip", (96, 64)),
    "CLIP ResNet": ("RN50", 64),
    "CLIP ResNet, small": ("resnet", None),
    "CLIPA": ("clipa", None),
    "SigLIP": ("siglip", 64),
    "SigLIP 2": ("siglip2", 64),
    "MobileCLIP": ("MobileCLIP2-S0", 64),
    "EVA-CLIP": ("eva", 56),
    "ConvNeXt-CLIP": ("convnext", None),
    "CoCa": ("coca", None),
}


@dataclass
class Pair:
    """One model, as Pixlake describes it and as open_clip loads it."""

    ours: ModelDescription
    module: Any
    transform: Any


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    name, size = MODELS[request.param]
    if name in CONFIGS:
        theirs = f"local-dir:{write_folder(tmp_path_factory.mktemp(name), name)}"
        ours = f"open_clip:{theirs}"
    else:
        theirs, ours = name, f"open_clip:{name}/random-3"
    # Random weights are run as the tags of their architecture agree.
    of_tags = open_clip.get_pretrained_cfg(name, "dfndr2b") if name == "MobileCLIP2-S0" else {}
    module, transform = plain(theirs, size, of_tags)
    return Pair(describe(at_size(parse_model_name(ours), size)), module, transform)


@pytest.fixture(scope="module")
def embedder(pair: Pair) -> ImageEmbedder:
    """In float32: once for all tests of a model, since half of their time is building and loading it."""
    return load_image_embedder(pair.ours, Runtime(batch_size=32))


def at_size(spec: ModelSpec, size: int | tuple[int, int] | None) -> ModelSpec:
    return spec.model_copy(update={"preprocess": PreprocessOverrides(image_size=size)})


def encode(module: Any, inputs: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        vectors: np.ndarray = module.encode_image(inputs).numpy()
    return vectors


def normalised(transform: Any, pixels: np.ndarray) -> torch.Tensor:
    """open_clip's input of images that are at the model's size already."""
    to_tensor, normalise = transform.transforms[-2:]
    return torch.stack([normalise(to_tensor(Image.fromarray(image))) for image in pixels])


def test_vectors_are_those_of_plain_open_clip(pair: Pair, embedder: ImageEmbedder, photographs: list[Path]) -> None:
    pixels = decoded(photographs, pair.ours.preprocess)
    ours = embedder.embed(pixels)
    theirs = encode(pair.module, torch.stack([pair.transform(Image.open(path)) for path in photographs]))
    assert ours.shape == theirs.shape == (len(photographs), pair.ours.dim)
    assert cosines(ours, theirs).min() >= 0.9999
    assert cosines(ours, encode(pair.module, normalised(pair.transform, pixels))).min() >= 0.99999


def test_batches_of_one_and_of_thirty_two_agree(pair: Pair, embedder: ImageEmbedder) -> None:
    shape = (32, pair.ours.preprocess.height, pair.ours.preprocess.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    one, many = np.concatenate([embedder.embed(each[None]) for each in pixels]), embedder.embed(pixels)
    assert (1 - cosines(one, many)).max() <= 1e-5


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_is_close_to_float32(
    pair: Pair, embedder: ImageEmbedder, photographs: list[Path], precision: Precision
) -> None:
    pixels = decoded(photographs, pair.ours.preprocess)
    exact, reduced = embedder.embed(pixels), load_image_embedder(pair.ours, Runtime(precision=precision)).embed(pixels)
    assert not np.array_equal(exact, reduced)
    assert cosines(exact, reduced).mean() >= 0.999
