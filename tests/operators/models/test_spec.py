"""Model names to specs."""

from pathlib import Path

import pytest

from operators.models.spec import ModelError, parse_model_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("null", {"family": "null", "architecture": "null"}),
        ("efficientnet-lite0", {"family": "efficientnet-lite", "architecture": "tf_efficientnet_lite0"}),
        (
            "open_clip:ViT-B-32/laion2b_s34b_b79k",
            {"family": "open_clip", "architecture": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"},
        ),
        (
            "open_clip:ViT-B-32@/models/b@32.safetensors",
            {"family": "open_clip", "architecture": "ViT-B-32", "weights": "/models/b@32.safetensors"},
        ),
        ("open_clip:ViT-B-32/random-7", {"family": "open_clip", "architecture": "ViT-B-32", "seed": 7}),
        (
            "open_clip:hf-hub:timm/ViT-B-16-SigLIP",
            {"family": "open_clip", "architecture": "hf-hub:timm/ViT-B-16-SigLIP"},
        ),
        (
            "timm:vit_small_patch14_dinov2.lvd142m",
            {"family": "timm", "architecture": "vit_small_patch14_dinov2.lvd142m"},
        ),
        ("timm:resnet18/random-0", {"family": "timm", "architecture": "resnet18", "seed": 0}),
        (
            "timm:resnet18@s3://b/w.safetensors",
            {"family": "timm", "architecture": "resnet18", "weights": "s3://b/w.safetensors"},
        ),
        (
            "open_clip:local-dir:/models/mine",
            {"family": "open_clip", "architecture": "local-dir:/models/mine"},
        ),
        (
            "open_clip:local-dir:/home/me@work/mine",
            {"family": "open_clip", "architecture": "local-dir:/home/me@work/mine"},
        ),
        (
            "vertex:multimodalembedding@001/512",
            {"family": "vertex", "architecture": "multimodalembedding@001", "pretrained": "512"},
        ),
        ("timm:resnet18@/w.pt", {"family": "timm", "architecture": "resnet18", "weights": "/w.pt"}),
    ],
)
def test_names(name: str, expected: dict[str, object]) -> None:
    given = parse_model_name(name).model_dump(exclude_defaults=True)
    assert given == {"name": name, **expected}


def test_a_weights_file_is_named_from_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_model_name("timm:resnet18@w.safetensors").weights == str(tmp_path / "w.safetensors")


def test_a_pin_is_kept() -> None:
    assert parse_model_name("timm:resnet18@w.pt", "ab" * 32).sha256 == "ab" * 32
    assert parse_model_name("efficientnet-lite0", "ab" * 32).sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet50", "pixlake models"),
        ("", "no such model"),
        ("timm:", "no such model"),
        ("clip:ViT-B-32/openai", "open_clip:ARCHITECTURE/PRETRAINED"),
        ("null@weights.safetensors", "no such model"),
        ("open_clip:ViT-B-32", "say which weights"),
        ("open_clip:ViT-B-32/random", "random weights need a seed, as in /random-0"),
        ("timm:resnet18/random-x", "random weights need a seed"),
        ("open_clip:ViT-B-32/openai@w.safetensors", "names both pretrained weights (openai) and a weights file"),
        ("timm:resnet18/random-0@w.safetensors", "names both"),
        ("timm:resnet18/a1_in1k", "timm:resnet18.a1_in1k"),
        ("open_clip:hf-hub:timm/ViT-B-16-SigLIP@w.safetensors", "hub"),
    ],
)
def test_names_that_cannot_be_meant(name: str, says: str) -> None:
    with pytest.raises(ModelError) as error:
        parse_model_name(name)
    assert repr(name) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI@b/w.safetensors",
        "s3://b/w.safetensors?X-Amz-Signature=wJalrXUtnFEMI",
        "hf://user:wJalrXUtnFEMI@owner/name/w.safetensors",
    ],
)
def test_credentials_in_a_name_are_refused_and_not_repeated(uri: str) -> None:
    """The name is stored with the table."""
    with pytest.raises(ModelError, match=r"belong in storage\.key") as error:
        parse_model_name(f"timm:resnet18@{uri}")
    assert "wJalrXUtnFEMI" not in str(error.value)
