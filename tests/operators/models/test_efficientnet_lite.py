"""The bundled model names what is in photographs, which it does only when its pixels are prepared as in training."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from photographs import cosines, decoded

from operators.models.efficientnet_lite import SHA256, load_classifier
from operators.models.load import Runtime, describe, load_image_embedder
from operators.models.spec import ModelDescription, ModelError, parse_model_name

SPEC = parse_model_name("efficientnet-lite0")


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
    """Chelsea is a cat: ImageNet knows house cats by coat."""
    with torch.inference_mode():
        logits = classifier(normalised(decoded(photographs[:3], model.preprocess), model))
    shares, classes = logits.softmax(1).max(1)
    names = [timm.data.ImageNetInfo().index_to_description(int(c)) for c in classes]
    assert "cat" in names[0]
    assert "missile" in names[1] or "rocket" in names[1]
    assert "espresso" in names[2] or "coffee" in names[2] or "cup" in names[2]
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


def test_the_weights_are_pinned(model: ModelDescription) -> None:
    assert model.weights_sha256 == SHA256
    assert not model.text
    with pytest.raises(ModelError, match="is pinned"):
        load_classifier(parse_model_name("efficientnet-lite0", "ab" * 32))
    other = model.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(ModelError, match="give every node the same file"):
        load_image_embedder(other, Runtime(precision="float32", batch_size=1))
