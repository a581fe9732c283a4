"""Models listed by name, and one described."""

import pytest

from jobs.model_names import conf_models
from jobs.models import ModelsConfig, as_text, run
from operators.models.spec import ModelError


def test_short_names_and_what_they_stand_for() -> None:
    models = run(ModelsConfig())
    assert list(models.names) == conf_models()
    assert models.names["resnet50"] == "timm:resnet50.a1_in1k"
    lines = as_text(models).splitlines()
    assert "efficientnet-lite0" in lines
    assert any(line.split() == ["resnet50", "timm:resnet50.a1_in1k"] for line in lines)


@pytest.mark.parametrize(
    ("library", "known"), [("open_clip", "open_clip:ViT-B-32/laion2b_s34b_b79k"), ("timm", "timm:resnet18.a1_in1k")]
)
def test_the_libraries_list_theirs(library: str, known: str) -> None:
    models = run(ModelsConfig(name=library))
    assert known in models.names
    assert len(models.names) > 50


def test_one_model_is_shown_with_its_size_and_preprocessing() -> None:
    models = run(ModelsConfig(name="efficientnet-lite0"))
    assert models.model is not None
    assert models.model.dim == 1280
    text = as_text(models)
    for line in (
        "architecture  tf_efficientnet_lite0 (efficientnet-lite), 3,371,008 parameters",
        "vectors       1280-d",
        "search by     image, id\n",
        f"weights       sha256 {models.model.weights_sha256}\n",
        "size          224 x 224, from shortest 256 x 256, bicubic",
    ):
        assert line in text


def test_random_weights_are_marked() -> None:
    text = as_text(run(ModelsConfig(name="timm:test_vit/random-5")))
    assert "(random, seed 5: for benchmarks and tests only)" in text


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ModelError, match="no such model"):
        run(ModelsConfig(name="nonesuch"))
