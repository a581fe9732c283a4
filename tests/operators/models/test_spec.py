"""Model names to specs, and the subprocess that resolves them."""

import os
import sys
from pathlib import Path

import pytest

from operators.models.load import describe
from operators.models.spec import ModelError, ModelSpec, describe_model, parse_model_name


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


def test_a_model_is_resolved_in_another_process() -> None:
    spec = parse_model_name("null")
    assert describe_model(spec) == describe(spec)


def test_the_folder_one_stands_in_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own package of the same name must not be run in place of ours."""
    (tmp_path / "operators").mkdir()
    (tmp_path / "operators" / "__init__.py").write_text("raise SystemExit('wrong package')")
    monkeypatch.chdir(tmp_path)
    assert describe_model(parse_model_name("null")).dim == 192


def test_why_a_model_cannot_be_resolved_comes_back_as_one_line() -> None:
    with pytest.raises(ModelError) as error:
        describe_model(parse_model_name("timm:no_such_net/random-0"))
    assert "timm has no architecture 'no_such_net'" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_crash_shows_its_last_words() -> None:
    broken = ModelSpec.model_construct(name="odd", family="nowhere", architecture="x")
    with pytest.raises(ModelError, match="model 'odd': could not be resolved") as error:
        describe_model(broken)
    assert "nowhere" in str(error.value)


def test_the_subprocess_is_out_of_reach_of_the_terminals_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "python"
    told.write_text('#!/bin/sh\necho "{\\"error\\": \\"session $(cut -d" " -f6 /proc/self/stat)\\"}"\n')
    told.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(told))
    with pytest.raises(ModelError, match=r"session \d+") as error:
        describe_model(parse_model_name("null"))
    assert str(error.value) != f"session {os.getsid(0)}"
