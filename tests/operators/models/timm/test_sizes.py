"""Sizes other than a timm network's own: resampled as timm does, or refused with a reason."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from made.photographs import cosines, decoded
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelError, ModelSpec, parse_model_name
from operators.pixels.preprocess import PreprocessOverrides


def sized(name: str, size: int | tuple[int, int]) -> ModelSpec:
    return parse_model_name(name).model_copy(update={"preprocess": PreprocessOverrides(image_size=size)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sizes")


def weights(name: str, folder: Path) -> Path:
    """Random weights at the network's own size, as a file with a classifier."""
    path = folder / f"{name}.safetensors"
    torch.manual_seed(3)
    save_file(timm.create_model(name).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("test_vit", (96, 96)),
        ("test_vit", (224, 128)),
        ("swin_tiny_patch4_window7_224", (112, 112)),
        ("eva02_tiny_patch14_224", (98, 98)),
        ("test_resnet", (75, 101)),
    ],
)
def test_weights_of_one_size_at_another_are_those_of_plain_timm(
    name: str, size: tuple[int, int], folder: Path, photographs: list[Path]
) -> None:
    path = weights(name, folder)
    model = describe(sized(f"timm:{name}@{path}", size))
    assert (model.preprocess.height, model.preprocess.width) == size
    pixels = decoded(photographs, model.preprocess)
    ours = load_image_embedder(model, Runtime(batch_size=4)).embed(pixels)

    fixed = {"img_size": size} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    module = timm.create_model(
        name, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": str(path)}, **fixed
    ).eval()
    config = timm.data.resolve_model_data_config(module, args={"input_size": (3, *size)})
    transform = timm.data.create_transform(**config, is_training=False)
    to_tensor, normalise = transform.transforms[-2:]
    same = torch.stack([normalise(to_tensor(Image.fromarray(image))) for image in pixels])
    inputs = torch.stack([transform(Image.open(path).convert("RGB")) for path in photographs])
    with torch.inference_mode():
        theirs, given_our_pixels = module(inputs).numpy(), module(same).numpy()
    assert cosines(ours, theirs).min() >= 0.9999
    assert cosines(ours, given_our_pixels).min() >= 0.99999


def test_positions_are_resampled_to_another_shape_with_as_many_patches(folder: Path) -> None:
    """10 x 10 patches to 5 x 20. What is expected is timm's own resampling of one tensor."""
    path = weights("test_vit", folder)
    model = describe(sized(f"timm:test_vit@{path}", (80, 320)))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 80, 320, 3), np.uint8)
    ours = load_image_embedder(model, Runtime()).embed(pixels)

    module = timm.create_model("test_vit", num_classes=0, img_size=(80, 320)).eval()
    state = {key: tensor for key, tensor in load_file(path).items() if not key.startswith("head.")}
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], [5, 20], [10, 10])
    module.load_state_dict(state)
    mean, std = (torch.tensor(each) for each in (model.preprocess.mean, model.preprocess.std))
    with torch.inference_mode():
        theirs = module(((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)).numpy()
    assert cosines(ours, theirs).min() >= 0.99999


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("gmlp_ti16_224", (112, 448)),
        ("crossvit_9_240", (120, 480)),
        ("cait_xxs24_224", (448, 112)),
    ],
)
def test_a_shape_with_as_many_places_is_refused_where_timm_resamples_nothing(
    name: str, size: tuple[int, int], folder: Path
) -> None:
    """Every tensor fits, and would be read row by row into rows of another length."""
    with pytest.raises(ModelError, match=r"does not resample it to .* leave model\.preprocess\.image_size out"):
        describe(sized(f"timm:{name}@{weights(name, folder)}", size))


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        (
            "test_vit",
            100,
            "image_size 100 x 100 is not a multiple of its patches of 16 x 16 pixels; the nearest is 96 x 96",
        ),
        ("vit_small_patch14_dinov2", (224, 230), "patches of 14 x 14 pixels; the nearest is 224 x 224"),
        ("halonet26t", 100, "halonet26t takes no images of 100 x 100: "),
        ("test_maxvit", 100, "image_size"),
        ("pit_ti_224", 5, "image_size"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused(name: str, size: int, says: str) -> None:
    with pytest.raises(ModelError) as error:
        describe(sized(f"timm:{name}/random-0", size))
    assert says in str(error.value)
    assert f"'timm:{name}/random-0'" in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_that_fit_their_own_size_alone_say_so(folder: Path) -> None:
    """A mixer has a weight for each pair of places, which nothing resamples."""
    path = weights("gmlp_ti16_224", folder)
    assert describe(parse_model_name(f"timm:gmlp_ti16_224@{path}")).dim == 128
    with pytest.raises(
        ModelError, match=r"is \(196, 196\), expected \(36, 36\).* leave model\.preprocess\.image_size out"
    ):
        describe(sized(f"timm:gmlp_ti16_224@{path}", 96))
