"""Which network stands beside a model with random weights."""

import pytest

from jobs.benchmarking.models import random_twin
from operators.models.spec import parse_model_name


@pytest.mark.parametrize(
    ("model", "twin"),
    [
        ("efficientnet-lite0", "timm:tf_efficientnet_lite0/random-0"),
        ("timm:vit_small_patch14_dinov2.lvd142m", "timm:vit_small_patch14_dinov2/random-0"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "open_clip:ViT-B-32/random-0"),
        ("timm:resnet10t/random-3", None),
        ("timm:hf-hub:org/model", None),
        ("null", None),
    ],
)
def test_the_same_network_with_random_weights(model: str, twin: str | None) -> None:
    spec = parse_model_name(model).model_copy(update={"pooling": "avg"})
    found = random_twin(spec, (224, 192))
    assert (found.name if found else None) == twin
    if found:
        assert found.seed == 0
        assert found.pooling == "avg"
        assert found.preprocess.input_size == (224, 192)
