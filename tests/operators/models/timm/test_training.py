"""Which preprocessing a bare weights file gets, where timm's tags of its architecture disagree."""

from pathlib import Path
from typing import Any

import pytest
import timm
from safetensors.torch import save_file

from operators.models.load import describe
from operators.models.spec import ModelError, ModelSpec, parse_model_name
from operators.models.timm.training import check_preprocessing_is_known, notes_of
from operators.pixels.preprocess import PreprocessOverrides

HALF = (0.5, 0.5, 0.5)


def spec_of(name: str, **preprocess: Any) -> ModelSpec:
    return parse_model_name(f"timm:{name}").model_copy(update={"preprocess": PreprocessOverrides(**preprocess)})


@pytest.fixture(scope="module")
def resnet18d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training") / "w.safetensors"
    save_file(timm.create_model("resnet18d").state_dict(), path)
    return path


def test_a_bare_file_of_disagreeing_tags_is_refused(resnet18d: Path) -> None:
    with pytest.raises(ModelError) as error:
        describe(spec_of(f"resnet18d@{resnet18d}"))
    assert str(error.value) == (
        f"model 'timm:resnet18d@{resnet18d}': nothing says how this file's images are to be prepared, and timm's "
        "pretrained weights of resnet18d disagree: mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225] by ra2_in1k; "
        "mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5] by ra4_e3600_r224_in1k. Name the tag that the file is from, as in "
        f"timm:resnet18d.ra2_in1k@{resnet18d}, or say it, as in --set 'model.preprocess.mean=[0.485, 0.456, 0.406]' "
        "--set 'model.preprocess.std=[0.229, 0.224, 0.225]'"
    )


def test_a_tag_says_how_the_images_of_a_file_are_prepared(resnet18d: Path) -> None:
    model = describe(spec_of(f"resnet18d.ra4_e3600_r224_in1k@{resnet18d}"))
    assert (model.preprocess.mean, model.preprocess.std) == (HALF, HALF)


def test_so_do_settings_of_all_that_is_in_doubt(resnet18d: Path) -> None:
    model = describe(spec_of(f"resnet18d@{resnet18d}", mean=HALF, std=HALF))
    assert (model.preprocess.mean, model.preprocess.std) == (HALF, HALF)
    with pytest.raises(ModelError, match=r"disagree: std .* as in --set 'model\.preprocess\.std=\[[^']*'$"):
        describe(spec_of(f"resnet18d@{resnet18d}", mean=HALF))


def test_interpolation_is_in_doubt_too_and_few_tags_are_shown() -> None:
    with pytest.raises(ModelError) as error:
        check_preprocessing_is_known(spec_of("resnet50@s3://b/w.safetensors"))
    assert "disagree: interpolation bicubic by a1_in1k, a1h_in1k, a2_in1k and 12 more; interpolation bilinear" in str(
        error.value
    )
    check_preprocessing_is_known(spec_of("resnet50@s3://b/w.safetensors", interpolation="bilinear"))


@pytest.mark.parametrize(
    "name",
    [
        "resnet18d/random-0",
        "resnet18d",
        "resnet18d.ra2_in1k",
        "hf-hub:someone/resnet18d",
        "local-dir:resnet18d",
        # Tags that agree, one tag, and none.
        "swin_tiny_patch4_window7_224@w.safetensors",
        "vit_small_patch14_dinov2@s3://models/dinov2-s.safetensors",
        "gmlp_ti16_224@w.safetensors",
    ],
)
def test_nothing_is_asked_where_it_is_known(name: str) -> None:
    check_preprocessing_is_known(spec_of(name))


def notes_on(name: str, tag: str) -> tuple[str, ...]:
    return notes_of(parse_model_name(f"timm:{name}"), timm.get_pretrained_cfg(tag).to_dict())


@pytest.mark.parametrize("named", ["vit_base_patch16_clip_224.openai", "local-dir:/models/mine"])
def test_weights_trained_with_quickgelu_are_said_to_run_under_gelu(named: str) -> None:
    """OpenAI's CLIP: timm's plain architecture has GELU, and its own remark on the tag says which one has QuickGELU."""
    natively, ours = notes_on(named, "vit_base_patch16_clip_224.openai")
    assert natively.startswith("natively QuickGELU")
    assert ours.startswith("timm runs GELU on these weights")
    assert "timm:vit_base_patch16_clip_quickgelu_224.openai runs QuickGELU" in ours


def test_the_network_with_quickgelu_and_weights_trained_with_gelu_are_said_nothing_of() -> None:
    quick = "vit_base_patch16_clip_quickgelu_224.openai"
    assert len(notes_on(quick, quick)) == 1
    assert notes_on("vit_base_patch16_clip_224.laion2b", "vit_base_patch16_clip_224.laion2b") == ()
    # A bare file is run as the default tag is, and need not be it.
    assert notes_on("vit_base_patch16_clip_224@/w.safetensors", "vit_base_patch16_clip_224.openai") == ()


def test_every_quickgelu_tag_of_timm_has_a_network_that_runs_it() -> None:
    noted = [tag for tag in timm.list_pretrained() if "QuickGELU" in str(timm.get_pretrained_cfg(tag).notes)]
    plain = [tag for tag in noted if "quickgelu" not in tag]
    assert len(plain) >= 15
    assert all("_clip_quickgelu_" in notes_on(tag, tag)[1] for tag in plain)
