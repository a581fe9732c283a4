"""What an open_clip name stands for: weights, activation and preprocessing; and the refusal of what does not fit."""

import hashlib
import json
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from made.open_clip_folders import CONFIGS, PREPROCESS, build, plain, write_folder
from made.photographs import cosines, decoded
from operators.embed import EmbedPixelsConfig
from operators.models.load import describe, load_image_embedder, load_text_embedder
from operators.models.open_clip.architecture import architecture_of
from operators.models.open_clip.training import training_of
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.pixels.preprocess import PreprocessOverrides

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
        EmbedPixelsConfig(model=model.model_copy(update={"quick_gelu": value})).space("vector")
        for value in (False, True)
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


def test_a_folder_is_named_from_anywhere_and_its_weights_are_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "mine", "clip")
    monkeypatch.chdir(tmp_path)
    model = describe(parse_model_name("open_clip:local-dir:mine"))
    path = tmp_path / "mine" / "open_clip_model.safetensors"
    assert (model.weights_uri, model.weights_sha256) == (str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    assert (model.preprocess.mean, model.preprocess.std) == (tuple(PREPROCESS["mean"]), tuple(PREPROCESS["std"]))
    # What a worker needs beside the weights is in the description.
    (tmp_path / "mine" / "open_clip_config.json").unlink()
    monkeypatch.chdir("/")
    load_image_embedder(ModelDescription.model_validate_json(model.model_dump_json()), Runtime())
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="the run was planned with"):
        load_image_embedder(model, Runtime())


def test_folders_that_are_not_open_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no .*open_clip_config\.json"):
        describe(parse_model_name(f"open_clip:local-dir:{tmp_path}"))
    config = tmp_path / "open_clip_config.json"
    for text, says in (("{", "is no open_clip configuration"), ('{"model_cfg": {}}', "it lacks 'vision_cfg'")):
        config.write_text(text)
        with pytest.raises(ModelError, match=says):
            describe(parse_model_name(f"open_clip:local-dir:{tmp_path}"))
    config.write_text(json.dumps({"model_cfg": CONFIGS["clip"]}))
    with pytest.raises(ModelError, match=r"holds no weights; open_clip's name is open_clip_model\.safetensors"):
        describe(parse_model_name(f"open_clip:local-dir:{tmp_path}"))
    write_folder(tmp_path, "clip", {**PREPROCESS, "interpolation": "random"})
    with pytest.raises(ModelError, match="interpolation"):
        describe(parse_model_name(f"open_clip:local-dir:{tmp_path}"))


@pytest.mark.parametrize("form", ["module.", "checkpoint", "fp16"])
def test_other_forms_of_the_same_weights(form: str, photographs: list[Path], tmp_path: Path) -> None:
    """As open_clip's training leaves them, and in half precision."""
    folder = write_folder(tmp_path / "plain", "clip")
    state = load_file(folder / "open_clip_model.safetensors")
    other = write_folder(tmp_path / "other", "clip")
    path, sha256 = other / "open_clip_model.safetensors", None
    path.unlink()
    if form == "checkpoint":
        path = other / "epoch_1.pth"
        torch.save({"epoch": 1, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    elif form == "fp16":
        save_file({key: value.half() for key, value in state.items()}, path)
    else:
        save_file({f"module.{key}": value for key, value in state.items()}, path)
    models = [
        describe(parse_model_name(f"open_clip:local-dir:{folder}")),
        describe(parse_model_name(f"open_clip:local-dir:{other}", sha256)),
    ]
    assert [model.text for model in models] == [True, True]
    pixels = decoded(photographs, models[0].preprocess)
    plain_vectors, vectors = (load_image_embedder(model, Runtime()).embed(pixels) for model in models)
    assert cosines(plain_vectors, vectors).min() >= (0.9999 if form == "fp16" else 0.9999999)
    texts = [load_text_embedder(model).embed(["a cat"]) for model in models]
    assert cosines(*texts).min() >= 0.9999


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("clip", 60, "60 x 60 is not a multiple of its patches of 16 x 16 pixels; the nearest is 64 x 64"),
        ("eva", (224, 200), "224 x 200 is not a multiple of its patches of 14 x 14 pixels; the nearest is 224 x 196"),
        ("resnet", 96, "CLIP's ResNets take images of one size, here 64 x 64"),
    ],
)
def test_sizes_that_a_tower_cannot_take(name: str, size: int | tuple[int, int], says: str, tmp_path: Path) -> None:
    spec = parse_model_name(f"open_clip:local-dir:{write_folder(tmp_path, name)}")
    with pytest.raises(ModelError) as error:
        describe(spec.model_copy(update={"preprocess": PreprocessOverrides(image_size=size)}))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("own", "asked"),
    [
        ((64, 64), (32, 128)),
        ((64, 64), (128, 32)),
        ((32, 128), (64, 64)),
        ((32, 128), (64, 128)),
        ((64, 64), (96, 64)),
        ((64, 64), (128, 16)),  # one column: positions.py says why
    ],
)
@pytest.mark.parametrize("name", ["clip", "coca"])
def test_positions_are_resampled_from_the_shape_that_they_were_learnt_in(
    name: str, own: tuple[int, int], asked: tuple[int, int], tmp_path: Path
) -> None:
    """open_clip itself takes as many patches for the same grid, and any other grid for a square. What is expected is
    timm's resampling, which is told the old shape and the new."""
    config = deepcopy(CONFIGS[name])
    config["vision_cfg"]["image_size"] = list(own)
    folder = write_folder(tmp_path, name, config=config)
    spec = parse_model_name(f"open_clip:local-dir:{folder}")
    model = describe(spec.model_copy(update={"preprocess": PreprocessOverrides(image_size=asked)}))
    pixels = np.random.default_rng(0).integers(0, 256, (2, *asked, 3), np.uint8)
    ours = load_image_embedder(model, Runtime()).embed(pixels)

    learnt = build(config).visual
    visual = build(config | {"vision_cfg": config["vision_cfg"] | {"image_size": list(asked)}}).visual
    state = learnt.state_dict()
    grids = [[length // 16 for length in size] for size in (asked, own)]
    state["positional_embedding"] = resample_abs_pos_embed(state["positional_embedding"][None], *grids)[0]
    visual.load_state_dict(state)
    mean, std = (torch.tensor(each) for each in (model.preprocess.mean, model.preprocess.std))
    with torch.inference_mode():
        theirs = visual(((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2))
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    assert cosines(ours, theirs.numpy()).min() >= 0.99999


def test_positions_of_no_known_shape_are_refused(tmp_path: Path) -> None:
    """A file of 2 x 8 patches under a configuration of 3 x 3: 16 would be a square, 2 x 9 are none."""
    config = deepcopy(CONFIGS["clip"])
    config["vision_cfg"]["image_size"] = [32, 144]
    folder = write_folder(tmp_path, "clip", config=config)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": CONFIGS["clip"], "preprocess_cfg": PREPROCESS})
    )
    with pytest.raises(ModelError, match="positions of 18 patches, which are neither a square nor the 4 x 4"):
        describe(parse_model_name(f"open_clip:local-dir:{folder}"))


def test_what_the_user_says_of_the_images_settles_what_tags_disagree_on() -> None:
    spec = parse_model_name("open_clip:ViT-L-14@/w.safetensors")
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    both = spec.model_copy(update={"preprocess": PreprocessOverrides(mean=mean, std=std)})
    found = training_of(both).preprocess
    assert (found["mean"], found["std"], found["resize_mode"]) == ([0.5] * 3, [0.25] * 3, "shortest")
    with pytest.raises(ModelError) as error:
        training_of(spec.model_copy(update={"preprocess": PreprocessOverrides(mean=mean)}))
    assert "disagree: std [0.2" in str(error.value)
    assert "--set 'model.preprocess.std=[0.2" in str(error.value)
    assert "preprocess.mean" not in str(error.value)
    with pytest.raises(ModelError) as error:
        training_of(spec)
    assert "--set 'model.preprocess.mean=[" in str(error.value)


def test_overrides_of_the_preprocessing_are_what_the_tower_gets(tmp_path: Path, photographs: list[Path]) -> None:
    spec = parse_model_name(f"open_clip:local-dir:{write_folder(tmp_path, 'clip')}")
    said = PreprocessOverrides(mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5), resize="shortest", crop_pct=0.5)
    model = describe(spec.model_copy(update={"preprocess": said}))
    assert (model.preprocess.mean, model.preprocess.resize_height) == ((0.1, 0.2, 0.3), 128)
    pixels = decoded(photographs, model.preprocess)
    visual = plain(f"local-dir:{tmp_path}")[0].visual
    mean, std = (torch.tensor(each) for each in ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5)))
    with torch.inference_mode():
        theirs = visual(((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)).numpy()
    assert cosines(load_image_embedder(model, Runtime()).embed(pixels), theirs).min() >= 0.99999


def test_every_pretrained_tag_is_on_the_hub() -> None:
    for architecture, tag in open_clip.list_pretrained():
        found = architecture_of(parse_model_name(f"open_clip:{architecture}/{tag}"))
        assert found.weights[0].startswith("hf://")
        assert found.weights[0].endswith(".safetensors")
    assert architecture_of(parse_model_name("open_clip:ViT-B-32/laion2b_s34b_b79k")).weights == (
        "hf://laion/CLIP-ViT-B-32-laion2B-s34B-b79K/open_clip_model.safetensors",
        "hf://laion/CLIP-ViT-B-32-laion2B-s34B-b79K/open_clip_pytorch_model.bin",
    )


def test_defaults_spelled_out_are_the_same_network(tmp_path: Path) -> None:
    short, long = (write_folder(tmp_path / name, "clip") for name in ("short", "long"))
    config = json.loads((long / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"] |= {"mlp_ratio": 4.0, "timm_model_name": None, "patch_dropout": 0}
    (long / "open_clip_config.json").write_text(json.dumps(config))
    models = [describe(parse_model_name(f"open_clip:local-dir:{folder}")) for folder in (short, long)]
    spaces = [EmbedPixelsConfig(model=model).space("vector") for model in models]
    assert spaces[0] == spaces[1]
    config["model_cfg"]["vision_cfg"]["head_width"] = 32
    (long / "open_clip_config.json").write_text(json.dumps(config))
    other = describe(parse_model_name(f"open_clip:local-dir:{long}"))
    assert other.weights_sha256 == models[0].weights_sha256
    assert EmbedPixelsConfig(model=other).space("vector") != spaces[0]
