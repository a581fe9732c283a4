"""What an open_clip name stands for: weights, activation and preprocessing; and the refusal of what does not fit."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip_folders import PREPROCESS, plain, write_folder
from photographs import decoded
from PIL import Image
from safetensors.torch import load_file, save_file

from operators.embed import EmbedConfig
from operators.models.load import Runtime, describe, load_image_embedder
from operators.models.open_clip_training import training_of
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.preprocess import PreprocessOverrides

ARCHITECTURE = "ViT-S-32-alt"


@pytest.fixture(scope="module")
def model() -> ModelDescription:
    return describe(parse_model_name(f"open_clip:{ARCHITECTURE}/random-3"))


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    torch.manual_seed(3)
    return open_clip.create_model(ARCHITECTURE).eval()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def weights(theirs: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("open_clip") / "model.safetensors"
    save_file(theirs.state_dict(), path)
    return path


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_the_crop_is_the_librarys_own(resize_mode: str, photographs: list[Path], tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "clip", {**PREPROCESS, "resize_mode": resize_mode})
    _, transform = plain(f"local-dir:{folder}", 160)
    spec = parse_model_name(f"open_clip:local-dir:{folder}")
    preprocess = describe(spec.model_copy(update={"preprocess": PreprocessOverrides(image_size=160)})).preprocess
    mean, std = (np.array(PREPROCESS[key])[:, None, None] for key in ("mean", "std"))
    for mine, path in zip(decoded(photographs, preprocess), photographs, strict=True):
        reference = (transform(Image.open(path)).numpy() * std + mean) * 255
        assert mine.shape == (160, 160, 3)
        difference = mine.transpose(2, 0, 1).astype(np.float64) - reference.round()
        assert 10 * np.log10(255**2 / max((difference**2).mean(), 1e-9)) >= 69


def test_a_weights_file_gives_the_vectors_of_its_weights(
    model: ModelDescription, weights: Path, photographs: list[Path]
) -> None:
    loaded = describe(parse_model_name(f"open_clip:{ARCHITECTURE}@{weights}"))
    assert loaded.weights_sha256 != model.weights_sha256
    pixels = decoded(photographs, model.preprocess)
    from_file, from_seed = (load_image_embedder(each, Runtime(batch_size=8)).embed(pixels) for each in (loaded, model))
    assert np.array_equal(from_file, from_seed)


@pytest.mark.parametrize(
    ("architecture", "quick_gelu", "mean", "resize"),
    [
        ("ViT-B-32", False, 0.48145466, "shortest"),
        ("ViT-B-32-quickgelu", True, 0.48145466, "shortest"),
        ("RN50x4", True, 0.48145466, "shortest"),
        ("ViT-B-16-SigLIP", False, 0.5, "squash"),
        ("ViT-B-16-plus", False, 0.48145466, "shortest"),
        # Its GELU tags agree; a QuickGELU tag does not.
        ("ViT-H-14", False, 0.48145466, "shortest"),
    ],
)
def test_a_file_is_run_as_the_tags_of_its_architecture_agree(
    architecture: str, quick_gelu: bool, mean: float, resize: str
) -> None:
    training = training_of(parse_model_name(f"open_clip:{architecture}@/w.safetensors"))
    cfg = {**asdict(open_clip.transform.PreprocessCfg()), **training.preprocess}
    assert (training.quick_gelu, cfg["mean"][0], cfg["resize_mode"]) == (quick_gelu, mean, resize)
    assert "size" not in training.preprocess


def test_a_file_of_an_architecture_whose_tags_disagree_is_refused() -> None:
    with pytest.raises(ModelError) as error:
        training_of(parse_model_name("open_clip:ViT-L-14@/w.safetensors"))
    assert "mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5] by laion2b_s32b_b82k" in str(error.value)
    assert "shortest" not in str(error.value)
    assert training_of(parse_model_name("open_clip:ViT-L-14/random-0")).preprocess == {}


def test_a_tag_brings_its_own_activation() -> None:
    tags = ("openai", "laion2b_s34b_b79k")
    assert [training_of(parse_model_name(f"open_clip:ViT-B-32/{tag}")).quick_gelu for tag in tags] == [True, False]


def test_the_preprocessing_of_the_tags_reaches_the_description() -> None:
    model = describe(parse_model_name("open_clip:MobileCLIP2-S0/random-0"))
    assert (model.preprocess.mean, model.preprocess.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert model.preprocess.interpolation == "bilinear"
    assert model.preprocess.height == 256


def test_the_activation_is_part_of_the_space(model: ModelDescription) -> None:
    quick = describe(parse_model_name("open_clip:ViT-B-32-quickgelu/random-3"))
    assert (model.quick_gelu, quick.quick_gelu) == (False, True)
    spaces = [
        EmbedConfig(model=model.model_copy(update={"quick_gelu": value})).space("vector") for value in (False, True)
    ]
    assert spaces[0] != spaces[1]


def test_files_that_do_not_fit_are_refused(weights: Path, tmp_path: Path) -> None:
    state = load_file(weights)
    del state["visual.proj"]
    partial, cut = tmp_path / "partial.safetensors", tmp_path / "cut.safetensors"
    save_file(state, partial)
    cut.write_bytes(weights.read_bytes()[:-1000])
    for architecture, path, says in (
        (ARCHITECTURE, partial, "missing visual.proj"),
        (ARCHITECTURE, cut, "incomplete metadata"),
        ("ViT-B-32", weights, "visual.class_embedding is (384,), expected (768,)"),
    ):
        with pytest.raises(ModelError) as error:
            describe(parse_model_name(f"open_clip:{architecture}@{path}"))
        assert says in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("open_clip:ViT-B-3/random-0", "near it: ViT-B-32"),
        ("open_clip:nothing-like-it/random-0", "`pixlake models open_clip` lists them"),
        ("open_clip:ViT-B-32/laion", "open_clip has no weights 'laion' for ViT-B-32; it has: openai, "),
    ],
)
def test_unknown_names_show_known_ones(name: str, says: str) -> None:
    with pytest.raises(ModelError) as error:
        describe(parse_model_name(name))
    assert says in str(error.value)
