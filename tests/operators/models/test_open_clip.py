"""open_clip models through Pixlake against ten lines of plain open_clip, images and words."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from photographs import cosines, decoded
from PIL import Image
from safetensors.torch import load_file, save_file

from operators.embed import EmbedConfig
from operators.models.load import Runtime, describe, load_image_embedder, load_text_embedder
from operators.models.open_clip import _preprocess
from operators.models.open_clip_training import training_of
from operators.models.spec import ModelDescription, ModelError, parse_model_name

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


def encode(module: Any, inputs: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        vectors: np.ndarray = module.encode_image(inputs).numpy()
    return vectors


def compare(name: str, paths: list[Path], module: Any, preprocess: Any) -> None:
    model = describe(parse_model_name(name))
    pixels = decoded(paths, model.preprocess)
    ours = load_image_embedder(model, Runtime(batch_size=3)).embed(pixels)
    inputs = torch.stack([preprocess(Image.open(path)) for path in paths])
    assert ours.shape == (len(paths), model.dim)
    assert cosines(ours, encode(module, inputs)).min() >= 0.9999
    to_tensor, normalise = preprocess.transforms[-2:]
    same = torch.stack([normalise(to_tensor(Image.fromarray(image))) for image in pixels])
    assert cosines(ours, encode(module, same)).min() >= 0.99999


@pytest.mark.parametrize("architecture", ["ViT-B-32", "RN50"])
def test_vectors_are_those_of_plain_open_clip(architecture: str, photographs: list[Path]) -> None:
    torch.manual_seed(3)
    module, _, preprocess = open_clip.create_model_and_transforms(architecture)
    compare(f"open_clip:{architecture}/random-3", photographs, module.eval(), preprocess)


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_the_crop_is_the_librarys_own(resize_mode: str, theirs: Any, photographs: list[Path]) -> None:
    config = {**open_clip.get_model_preprocess_cfg(theirs), "resize_mode": resize_mode, "size": 160}
    module = open_clip.create_model(ARCHITECTURE, force_image_size=160)
    open_clip.factory.set_model_preprocess_cfg(module.visual, config)
    ours = decoded(photographs, _preprocess(module))
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**config), is_train=False)
    mean, std = (np.array(config[key])[:, None, None] for key in ("mean", "std"))
    for mine, path in zip(ours, photographs, strict=True):
        reference = (transform(Image.open(path)).numpy() * std + mean) * 255
        assert mine.shape == (160, 160, 3)
        difference = mine.transpose(2, 0, 1).astype(np.float64) - reference.round()
        assert 10 * np.log10(255**2 / max((difference**2).mean(), 1e-9)) >= 69


def test_one_at_a_time_and_many_at_once_agree(model: ModelDescription) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 224, 224, 3), np.uint8)
    one, many = (load_image_embedder(model, Runtime(batch_size=size)).embed(pixels) for size in (1, 32))
    assert cosines(one, many).min() >= 0.99999


def test_words_are_embedded_in_the_space_of_the_images(model: ModelDescription, theirs: Any) -> None:
    texts = ["a photograph of a cat", "a rocket"]
    assert model.text
    ours = load_text_embedder(model).embed(texts)
    with torch.inference_mode():
        plain = theirs.encode_text(open_clip.get_tokenizer(ARCHITECTURE)(texts)).numpy()
    assert ours.shape == (2, model.dim)
    assert cosines(ours, plain).min() >= 0.99999


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
    for architecture, path in ((ARCHITECTURE, partial), (ARCHITECTURE, cut), ("ViT-B-32", weights)):
        with pytest.raises(ModelError, match="cannot be loaded: ") as error:
            describe(parse_model_name(f"open_clip:{architecture}@{path}"))
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
