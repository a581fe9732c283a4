"""`--model` as given: one or several, named or not, and what a column can be called."""

import pytest

from jobs.config.model_names import ModelConfig, check_model_name, derive_name, models_named
from operators.base.errors import UserError
from operators.models.spec import ModelError


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("clip-vit-b-32", "clip_vit_b_32"),
        ("null", "null"),
        ("timm:vit_small_patch14_dinov2.lvd142m", "vit_small_patch14_dinov2_lvd142m"),
        ("timm:test_vit/random-0", "test_vit"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "vit_b_32"),
        ("open_clip:hf-hub:timm/ViT-B-16-SigLIP", "vit_b_16_siglip"),
        ("open_clip:local-dir:/models/My CLIP/", "my_clip"),
        ("timm:resnet50@s3://bucket/run=7/weights.safetensors", "resnet50"),
        ("vertex:multimodalembedding@001/512", "multimodalembedding_001"),
    ],
)
def test_a_column_is_called_after_its_model(model: str, name: str) -> None:
    assert check_model_name(derive_name(model)) == name


def test_one_model_without_a_name_is_the_models_own_configuration() -> None:
    assert models_named(["resnet50"]) == {"model": {"name": "resnet50"}}
    weights = "timm:resnet50@s3://bucket/run=7/weights.safetensors"
    assert models_named([weights]) == {"model": {"name": weights}}


def test_several_are_called_as_said_or_after_themselves() -> None:
    given = [
        "clip-vit-b-32",
        "dino=timm:vit_small_patch14_dinov2.lvd142m",
        "w=timm:resnet50@s3://b/run=7/x.safetensors",
    ]
    assert models_named(given) == {
        "models": {
            "clip_vit_b_32": {"name": "clip-vit-b-32"},
            "dino": {"name": "timm:vit_small_patch14_dinov2.lvd142m"},
            "w": {"name": "timm:resnet50@s3://b/run=7/x.safetensors"},
        }
    }
    assert models_named(["a=null"]) == {"models": {"a": {"name": "null"}}}


@pytest.mark.parametrize(
    "given",
    [["timm:resnet50.a1_in1k", "timm:resnet50.a1-in1k"], ["resnet50", "resnet50=null"], ["a=null", "a=resnet50"]],
)
def test_two_of_one_name_are_refused_with_what_to_do(given: list[str]) -> None:
    with pytest.raises(UserError, match=r"would both be '.*': name them, as in --model .*_2=") as error:
        models_named(given)
    assert "--model" in str(error.value)


def test_a_model_of_no_known_form_is_refused() -> None:
    with pytest.raises(ModelError, match="model 'nonesuch': no such model"):
        models_named(["null", "nonesuch"])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("clip-vit-b32", "clip-vit-b-32"),
        ("Resnet", "resnet50"),
        ("dinov2", "dinov2-reg4-vit-b-14 or dinov2-vit-s-14"),
        ("efficientnet-lite", "efficientnet-lite0"),
    ],
)
def test_a_short_name_that_is_none_gets_the_nearest_ones(name: str, near: str) -> None:
    with pytest.raises(ModelError, match=rf"no such model; did you mean {near}\b"):
        models_named(["null", name])
    with pytest.raises(ModelError, match=rf"no such model; did you mean {near}\b"):
        ModelConfig(name=name).spec()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Clip", "lower case"),
        ("a-b", "lower case"),
        ("", "lower case"),
        ("_a", "lower case"),
        ("vector_a", "leave out"),
    ],
)
def test_a_name_that_no_column_can_have_is_refused(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_model_name(name)
