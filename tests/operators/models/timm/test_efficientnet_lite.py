"""The bundled model names what is in photographs, which it does only when its pixels are prepared as in training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from made.photographs import cosines, decoded
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec, parse_model_name
from operators.models.timm.efficientnet_lite import load_classifier
from operators.models.weights.packaged import SHA256
from operators.pixels.preprocess import PreprocessOverrides

SPEC = parse_model_name("efficientnet-lite0")

# Indices of the 1000 classes of ImageNet.
CATS = (281, 282, 283, 284, 285)  # tabby, tiger, Persian, Siamese, Egyptian
ROCKETS = (657, 744)  # missile, projectile
COFFEE = (504, 967, 968)  # coffee mug, espresso, cup


@pytest.fixture(scope="module")
def model() -> ModelDescription:
    return describe(SPEC)


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    return load_classifier(SPEC)


def normalised(pixels: np.ndarray, model: ModelDescription) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (model.preprocess.mean, model.preprocess.std))
    return (torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2) / 255 - mean) / std


def test_photographs_are_named(photographs: list[Path], model: ModelDescription, classifier: torch.nn.Module) -> None:
    """The classifier on the vectors of our own tower, of pixels that our own decode gave. Chelsea is a tabby."""
    vectors = load_image_embedder(model, Runtime()).embed(decoded(photographs[:3], model.preprocess))
    with torch.inference_mode():
        shares, classes = classifier.classifier(torch.from_numpy(vectors)).softmax(1).max(1)  # type: ignore[operator]
    assert classes[0] in CATS
    assert classes[1] in ROCKETS
    assert classes[2] in COFFEE
    assert shares.min() > 0.2


def test_vectors_are_the_pooled_features_before_the_classifier(
    photographs: list[Path], model: ModelDescription, classifier: torch.nn.Module
) -> None:
    pixels = decoded(photographs, model.preprocess)
    ours = load_image_embedder(model, Runtime(precision="float32", batch_size=3)).embed(pixels)
    with torch.inference_mode():
        features = classifier.forward_features(normalised(pixels, model))  # type: ignore[operator]
        theirs = features.mean((2, 3)).numpy()
    assert ours.shape == (len(photographs), 1280) == (len(photographs), model.dim)
    assert cosines(ours, theirs).min() > 0.99999


def test_the_indices_are_those_classes() -> None:
    names = [timm.data.ImageNetInfo().index_to_description(i) for i in (*CATS, *ROCKETS, *COFFEE)]
    words = ("cat", "cat", "cat", "cat", "cat", "missile", "projectile", "coffee", "espresso", "cup")
    assert [word for word, name in zip(words, names, strict=True) if word not in name] == []


def choose(**options: object) -> ModelSpec:
    return SPEC.model_copy(update=options)


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (choose(pooling="avg"), lambda net, x: net.forward_features(x).mean((2, 3))),
        (
            choose(pooling="gem", gem_power=2.0),
            lambda net, x: (net.forward_features(x).clamp(1e-6) ** 2).mean((2, 3)) ** 0.5,
        ),
        (choose(layer=-1), lambda net, x: net.blocks(net.bn1(net.conv_stem(x))).mean((2, 3))),
        (
            choose(layer=1, pooling="gem"),
            lambda net, x: (net.blocks[:2](net.bn1(net.conv_stem(x))).clamp(1e-6) ** 3).mean((2, 3)) ** (1 / 3),
        ),
    ],
    ids=["avg", "gem", "last-layer", "layer-1-gem"],
)
def test_poolings_and_layers(
    spec: ModelSpec, reference: Any, photographs: list[Path], classifier: torch.nn.Module
) -> None:
    """Layers are the resolutions that timm tells apart: 1 is a quarter of the input's."""
    described = describe(spec)
    pixels = decoded(photographs, described.preprocess)
    ours = load_image_embedder(described, Runtime()).embed(pixels)
    with torch.inference_mode():
        theirs = reference(classifier, normalised(pixels, described)).numpy()
    assert ours.shape == theirs.shape == (len(photographs), described.dim)
    assert cosines(ours, theirs).min() > 0.99999


def test_what_it_cannot_do_names_what_it_can() -> None:
    with pytest.raises(ModelError, match=r"cannot do pooling 'cls', .* set model.pooling to one of default, avg, gem$"):
        describe(choose(pooling="cls"))
    with pytest.raises(ModelError, match=r"set model\.layer to 0 to 4, or -5 to -1$"):
        describe(choose(layer=5))


def test_another_size_keeps_the_crop() -> None:
    preprocess = describe(choose(preprocess=PreprocessOverrides(image_size=160))).preprocess
    assert (preprocess.height, preprocess.resize_height) == (160, 160 * 256 // 224)


def test_the_weights_are_pinned(model: ModelDescription) -> None:
    assert model.weights_sha256 == SHA256
    assert not model.text
    with pytest.raises(ModelError, match="is pinned"):
        load_classifier(parse_model_name("efficientnet-lite0", "ab" * 32))
    other = model.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(ModelError, match="give every node the same file"):
        load_image_embedder(other, Runtime(precision="float32", batch_size=1))
