"""timm models through Pixlake against ten lines of plain timm, and what is said of weights that do not fit."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from made.photographs import cosines, decoded
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.models.timm.family import _preprocess, _repository
from operators.pixels.preprocess import PreprocessOverrides

CONF_DIR = Path(__file__).parents[4] / "conf"
NAME = "timm:test_vit/random-3"


@pytest.fixture(scope="module")
def model() -> ModelDescription:
    return describe(parse_model_name(NAME))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same random weights as a file, with a classifier, as timm's own files have."""
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    torch.manual_seed(3)
    state = timm.create_model("test_vit", num_classes=0).state_dict()
    save_file({**state, "head.weight": torch.zeros(1000, 64), "head.bias": torch.zeros(1000)}, path)
    return path


def plain(module: torch.nn.Module, pixels_NCHW: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        vectors: np.ndarray = module.eval()(pixels_NCHW).numpy()
    return vectors


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_vectors_are_those_of_plain_timm(name: str, photographs: list[Path]) -> None:
    model = describe(parse_model_name(f"timm:{name}/random-3"))
    pixels = decoded(photographs, model.preprocess)
    ours = load_image_embedder(model, Runtime(batch_size=3)).embed(pixels)

    torch.manual_seed(3)
    module = timm.create_model(name, num_classes=0)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)
    inputs = torch.stack([transform(Image.open(path).convert("RGB")) for path in photographs])
    assert ours.shape == (len(photographs), model.dim)
    assert cosines(ours, plain(module, inputs)).min() >= 0.9999

    to_tensor, normalise = transform.transforms[-2:]
    same = torch.stack([normalise(to_tensor(Image.fromarray(image))) for image in pixels])
    assert cosines(ours, plain(module, same)).min() >= 0.99999


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("size", "crop_pct"), [((3, 96, 96), 0.875), ((3, 160, 160), 1.0)])
def test_the_crop_is_the_librarys_own(
    crop_mode: str, size: tuple[int, int, int], crop_pct: float, photographs: list[Path]
) -> None:
    """Read off timm's configuration, and compared with the pixels that timm's own transform makes of photographs.

    Pillow and torch round some bicubic pixels otherwise: one in 150 by one level is 69.9 dB.
    """
    overlay = {"crop_mode": crop_mode, "crop_pct": crop_pct, "input_size": size, "mean": (0.5, 0.4, 0.3)}
    module = timm.create_model("test_resnet", pretrained_cfg_overlay=overlay)
    ours = decoded(photographs, _preprocess(parse_model_name("timm:test_resnet/random-0"), module))
    config = timm.data.resolve_model_data_config(module)
    transform = timm.data.create_transform(**config, is_training=False, normalize=False)
    theirs = [np.asarray(transform(Image.open(p).convert("RGB"))).transpose(1, 2, 0) for p in photographs]
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.shape == reference.shape
        difference = mine.astype(np.float64) - reference
        assert 10 * np.log10(255**2 / max((difference**2).mean(), 1e-9)) >= 69


def test_one_at_a_time_and_many_at_once_agree(model: ModelDescription) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, model.preprocess.height, model.preprocess.width, 3), "u1")
    one, many = (load_image_embedder(model, Runtime(batch_size=size)).embed(pixels) for size in (1, 32))
    assert cosines(one, many).min() >= 0.99999


def test_a_weights_file_gives_the_vectors_of_its_weights(
    model: ModelDescription, weights: Path, photographs: list[Path]
) -> None:
    loaded = describe(parse_model_name(f"timm:test_vit@{weights}"))
    assert loaded.weights_sha256 != model.weights_sha256
    assert loaded.dim == model.dim
    pixels = decoded(photographs, model.preprocess)
    from_file, from_seed = (load_image_embedder(each, Runtime(batch_size=8)).embed(pixels) for each in (loaded, model))
    assert np.array_equal(from_file, from_seed)


def test_a_file_that_lacks_a_tensor_is_refused(weights: Path, tmp_path: Path) -> None:
    """timm itself leaves the tensor random and goes on."""
    state = load_file(weights)
    del state["blocks.1.attn.qkv.weight"]
    save_file(state, tmp_path / "partial.safetensors")
    with pytest.raises(ModelError, match=r"do not fit test_vit: missing blocks\.1\.attn\.qkv\.weight$"):
        describe(parse_model_name(f"timm:test_vit@{tmp_path / 'partial.safetensors'}"))


def test_a_cut_off_file_and_one_of_another_model_are_refused(weights: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"cut\.safetensors is truncated"):
        describe(parse_model_name(f"timm:test_vit@{cut}"))
    with pytest.raises(ModelError, match=r"do not fit resnet18.tv_in1k: missing conv1.weight; .* and \d+ more$"):
        describe(parse_model_name(f"timm:resnet18.tv_in1k@{weights}"))


def test_weights_that_their_authors_published_as_npz_load_from_safetensors(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224.augreg_in21k"
    assert timm.get_pretrained_cfg(name).custom_load
    module = timm.create_model(name, num_classes=0)
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    assert describe(parse_model_name(f"timm:{name}@{tmp_path / 'model.safetensors'}")).dim == 192


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("timm:resnet181/random-0", "no architecture 'resnet181'; `pixlake models timm`"),
        ("timm:esnet18/random-0", "near it: resnet18"),
        ("timm:resnet18.no_such_tag", "it has: resnet18."),
        ("timm:resnet18.no_such_tag@w.safetensors", "it has: resnet18."),
        ("timm:resnet18.no_such_tag/random-0", "it has: resnet18."),
    ],
)
def test_unknown_names_show_known_ones(name: str, says: str) -> None:
    with pytest.raises(ModelError) as error:
        describe(parse_model_name(name))
    assert says in str(error.value)


def test_an_interpolation_that_decode_does_not_know_is_refused() -> None:
    module = timm.create_model("test_resnet", pretrained_cfg_overlay={"interpolation": "lanczos"})
    spec = parse_model_name("timm:test_resnet/random-0")
    with pytest.raises(ModelError, match=r"interpolation 'lanczos'.* set model.preprocess.interpolation to"):
        _preprocess(spec, module)
    chosen = spec.model_copy(update={"preprocess": PreprocessOverrides(interpolation="bicubic")})
    assert _preprocess(chosen, module).interpolation == "bicubic"


PRESETS = sorted(path for path in (CONF_DIR / "models").glob("*.yaml") if "name: timm:" in path.read_text())


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_short_name_stands_for_published_weights_of_the_dim_it_says(path: Path) -> None:
    """On torch's meta device: shapes without numbers."""
    text = path.read_text()
    name = text.rpartition("name: ")[2].strip()
    assert _repository(parse_model_name(name)) == name.replace("timm:", "timm/")
    with torch.device("meta"):
        module = timm.create_model(name.removeprefix("timm:"), num_classes=0)
        size = timm.data.resolve_model_data_config(module)["input_size"]
        assert f"{module(torch.zeros(1, *size)).shape[1]}-d, images only" in text
    assert " px" not in text or f" at {size[1]} px" in text
