"""Models listed by name, and one described."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch

from jobs.config.load import ConfigError, load_config
from jobs.config.model_names import about_conf_model, conf_models
from jobs.models import Models, ModelsConfig, as_text, run
from operators.models.load import describe
from operators.models.spec import ModelError, parse_model_name


def test_short_names_and_what_they_stand_for() -> None:
    models = run(ModelsConfig())
    assert list(models.names) == conf_models()
    assert models.names["resnet50"] == "timm:resnet50.a1_in1k"
    lines = {line.partition(" ")[0]: " ".join(line.split()) for line in as_text(models).splitlines()}
    assert lines["efficientnet-lite0"].endswith("1280-d, images only; its weights come with the package")
    assert lines["resnet50"] == "resnet50 2048-d, images only timm:resnet50.a1_in1k"
    assert lines["clip-vit-b-32"].startswith("clip-vit-b-32 512-d, images and text open_clip:")


@pytest.mark.parametrize("name", [name for name in conf_models() if name != "efficientnet-lite0"])
def test_what_a_short_name_is_said_to_give_is_what_the_library_makes(name: str) -> None:
    stands_for, about = run(ModelsConfig()).names[name], about_conf_model(name)
    family, _, network = stands_for.partition(":")
    if family == "vertex":
        dim, text = int(network.rpartition("/")[2]), True
    elif family == "open_clip":
        config = open_clip.get_model_config(network.partition("/")[0])
        dim, text = config["embed_dim"], "text_cfg" in config
    else:
        with torch.device("meta"):
            dim, text = timm.create_model(network, num_classes=0).num_features, False
    assert about.startswith(f"{dim}-d, images {'and text' if text else 'only'}")


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
        "pooling       default\n",
        "backend       openvino, in float32 on CPUs\n",
        "size          224 x 224\n",
        "resize        shorter side to 256, bicubic, centre crop of 0.875\n",
        "mean, std     (0.498",
    ):
        assert line in text


def test_random_weights_are_marked_and_options_shown(tmp_path: Path) -> None:
    """Given as to an embed job, whose file serves as it is; the model asked for is the one that is shown."""
    (tmp_path / "job.yaml").write_text("include: [clusters/gpu-cluster, models/resnet50]\nmodel: {pooling: gem}\n")
    base = {"name": "timm:test_vit/random-5"}
    config = load_config(ModelsConfig, files=[str(tmp_path / "job.yaml")], sets=["model.layer=-2"], base=base)
    models = run(config)
    assert models.model is not None
    assert (models.model.spec.pooling, models.model.spec.layer) == ("gem", -2)
    text = as_text(models)
    assert "(random, seed 5: for benchmarks and tests only)" in text
    assert "pooling       gem, power 3, after layer -2, final norm applied\n" in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "shorter side to 235, bicubic, centre crop of 0.9532"),
        ({"resize_height": 224, "resize_width": 224}, "shorter side to 224, bicubic, centre crop"),
        ({"resize": "squash", "resize_height": 224, "resize_width": 224}, "both sides to 224, bicubic, whole"),
        (
            {"resize": "longest", "resize_height": 224, "resize_width": 224, "fill": (1, 2, 3)},
            "longer side to 224, bicubic, padded with (1, 2, 3)",
        ),
        ({"height": 112, "resize_height": 128}, "shorter side to 128 x 235, bicubic, centre crop of 0.875"),
    ],
)
def test_how_images_are_resized_is_said(changes: dict[str, Any], says: str) -> None:
    model = describe(parse_model_name("null"))
    own = {"resize_height": 235, "resize_width": 235, **changes}
    shown = Models(model=model.model_copy(update={"preprocess": model.preprocess.model_copy(update=own)}))
    assert f"resize        {says}" in as_text(shown).splitlines()


def test_the_librarys_own_notes_on_the_weights_are_shown() -> None:
    model = describe(parse_model_name("null")).model_copy(update={"notes": ("natively QuickGELU", "other vectors")})
    lines = as_text(Models(model=model)).splitlines()
    assert lines[-2:] == ["note          natively QuickGELU", "note          other vectors"]


def test_what_is_the_providers_own_affair_is_not_shown() -> None:
    lines = as_text(run(ModelsConfig(name="vertex-multimodal"))).splitlines()
    assert "vectors       1408-d" in lines
    assert "search by     image, id, text" in lines
    assert "weights       the provider's" in lines
    assert not [line for line in lines if line.startswith(("pooling", "mean"))]


def test_an_option_that_no_model_has_is_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.poling: unknown key; did you mean 'pooling'\?"):
        load_config(ModelsConfig, sets=["model.poling=cls"], base={"name": "null"})


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ModelError, match="no such model"):
        run(ModelsConfig(name="nonesuch"))
