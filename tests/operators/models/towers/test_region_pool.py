"""Vectors of regions from a model's own patches, against its pooling `avg` and against plain means of its tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from made.open_clip_folders import write_folder
from operators.models.load import check_regions, describe, load_image_embedder, load_region_embedder
from operators.models.open_clip.features import image_features
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, parse_model_name
from operators.models.timm.features import TimmTower
from operators.models.towers.pooling import Tokens, pool_regions
from operators.pixels.preprocess import PreprocessOverrides

WHOLE = np.array([[0, 0, 1, 1]])
QUARTERS = np.array([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]])
RUNTIME = Runtime(batch_size=2)
NAMES = (
    "null",
    "efficientnet-lite0",
    "timm:test_vit/random-0",
    "timm:test_vit2/random-0",  # its norm stands behind the pool
    "timm:test_convnext/random-0",
)


def described(name: str, **options: Any) -> ModelDescription:
    return describe(parse_model_name(name).model_copy(update={"pooling": "avg", **options}))


def pixels_of(model: ModelDescription, count: int = 3) -> np.ndarray:
    """Noise that is brighter to the right and bottom: no two parts look the same."""
    height, width = model.preprocess.height, model.preprocess.width
    noise = np.random.default_rng(1).integers(0, 128, (count, height, width, 3))
    ramps = np.linspace(0, 80, height)[:, None, None] + np.linspace(0, 40, width)[:, None]
    return (noise + ramps).astype(np.uint8)


def check_whole_is_avg(model: ModelDescription) -> None:
    pixels = pixels_of(model)
    whole = load_image_embedder(model, RUNTIME).embed(pixels)
    regions = load_region_embedder(model, RUNTIME)
    check_regions(model, RUNTIME)
    assert np.allclose(regions.embed_regions(pixels, [WHOLE] * 3), whole, rtol=1e-4, atol=1e-5)
    # Image by image, however many each has, and over the edges of a batch.
    mixed = regions.embed_regions(pixels, [WHOLE, np.concatenate([QUARTERS, WHOLE]), WHOLE])
    assert np.allclose(mixed[[0, 5, 6]], whole, rtol=1e-4, atol=1e-5)
    assert not np.allclose(mixed[1:5], whole[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_input_gives_what_avg_gives(name: str) -> None:
    check_whole_is_avg(described(name))


@pytest.mark.parametrize(("name", "layer"), [("timm:test_vit/random-0", 2), ("timm:test_resnet/random-0", 1)])
def test_so_it_does_at_a_layer(name: str, layer: int) -> None:
    check_whole_is_avg(described(name, layer=layer))


@pytest.mark.parametrize(("name", "size"), [("clip", None), ("clipa", None), ("resnet", None), ("siglip", 64)])
def test_so_it_does_for_the_towers_of_open_clip(name: str, size: int | None, tmp_path: Path) -> None:
    """Its own transformer, with the final norm before the pool and behind it, its ResNet, and a trunk of timm's."""
    folder = write_folder(tmp_path / name, name)
    check_whole_is_avg(described(f"open_clip:local-dir:{folder}", preprocess=PreprocessOverrides(image_size=size)))


def test_a_region_of_whole_patches_is_their_mean() -> None:
    """12 x 8 patches that are not square in number: a wrong order of rows and columns would show."""
    torch.manual_seed(5)
    module = timm.create_model("test_vit", num_classes=0, img_size=(192, 128)).eval()
    tower = TimmTower(module, parse_model_name("timm:net/random-0").model_copy(update={"pooling": "avg"}))
    pixels = torch.randn(2, 3, 192, 128)
    rois = torch.tensor([[1, 2 / 8, 3 / 12, 5 / 8, 7 / 12], [0, 7 / 8, 11 / 12, 1, 1]])
    with torch.inference_mode():
        grid = module.forward_features(pixels)[:, 1:].reshape(2, 12, 8, -1)
        ours = tower(pixels, rois)
    assert torch.allclose(ours[0], grid[1, 3:7, 2:5].mean((0, 1)), atol=1e-5)
    assert torch.allclose(ours[1], grid[0, 11, 7], atol=1e-5)


def test_thirds_of_a_map_are_means_of_whole_cells() -> None:
    """A third of 12 is 4 and a rounding error, which alone would take a fifth sample."""
    torch.manual_seed(5)
    module = timm.create_model("test_vit", num_classes=0, img_size=192).eval()
    tower = TimmTower(module, parse_model_name("timm:net/random-0").model_copy(update={"pooling": "avg"}))
    pixels, edges = torch.randn(1, 3, 192, 192), np.arange(4, dtype=np.float32) / np.float32(3)
    rois = torch.tensor([[0, edges[x], edges[y], edges[x + 1], edges[y + 1]] for y in range(3) for x in range(3)])
    with torch.inference_mode():
        grid = module.forward_features(pixels)[0, 1:].reshape(3, 4, 3, 4, -1)
        assert torch.allclose(tower(pixels, rois), grid.mean((1, 3)).flatten(0, 1), atol=1e-5)


def test_a_pixel_of_a_large_image_has_a_vector() -> None:
    """Of 12,000 pixels and 7 patches, one is 0.6 of the 1024ths of a patch to which boxes are rounded."""
    patches = torch.rand((1, 49, 3), generator=torch.manual_seed(0)) + 1
    lefts = torch.arange(5000, 5009) / 12000
    rois = torch.stack([torch.zeros(9), lefts, lefts, lefts + 1 / 12000, lefts + 1 / 12000], 1)
    pooled = pool_regions(Tokens(patches, grid=(7, 7)), rois)
    torch.testing.assert_close(pooled, pooled[:1].expand(9, -1), atol=0.01, rtol=0)
    assert (pooled > 0.9).all()


@pytest.mark.parametrize("name", ["efficientnet-lite0", "timm:test_vit/random-0", "open_clip:ViT-S-32/random-0"])
def test_all_regions_of_an_image_take_one_forward_pass(name: str) -> None:
    model = described(name)
    embedder: Any = load_region_embedder(model, RUNTIME)
    first = next(part for part in embedder.tower.modules() if isinstance(part, torch.nn.Conv2d))
    images: list[int] = []
    first.register_forward_hook(lambda _part, inputs, _out: images.append(len(inputs[0])))
    vectors = embedder.embed_regions(pixels_of(model), [np.tile(QUARTERS, (4, 1))] * 3)
    assert len(vectors) == 48
    assert images == [2, 1]


def test_reduced_precision_changes_no_place() -> None:
    model = described("timm:test_vit/random-0")
    pixels = pixels_of(model)
    full, half = (
        load_region_embedder(model, Runtime(precision=precision)).embed_regions(pixels, [QUARTERS] * 3)
        for precision in ("float32", "bfloat16")
    )
    cosines = (full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)
    assert cosines.min() > 0.999


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("timm:test_vit/random-0", {"pooling": "default"}),
        ("timm:test_vit/random-0", {"pooling": "cls"}),
        ("null", {"pooling": "default"}),
        ("vertex:multimodalembedding@001/128", {"pooling": "default"}),
    ],
)
def test_a_model_without_patches_says_what_can_be_done(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"gives no patches to pool over regions; cut the regions out of the image"):
        load_region_embedder(described(name, **options), RUNTIME)


def test_tokens_in_an_order_of_their_own_are_refused() -> None:
    class Backwards(torch.nn.Module):
        """A timm network that keeps its tokens from the last to the first."""

        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def __getattr__(self, name: str) -> Any:
            return super().__getattr__(name) if name == "module" else getattr(self.module, name)

        def forward_features(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
            tokens: torch.Tensor = self.module.forward_features(pixels_NCHW)
            return torch.cat([tokens[:, :1], tokens[:, 1:].flip(1)], 1)

    spec = parse_model_name("timm:net/random-0").model_copy(update={"pooling": "avg"})
    module = timm.create_model("test_vit", num_classes=0).eval()
    TimmTower(module, spec).check_regions(160, 160)
    with pytest.raises(ModelError, match=r"which part of an image a token of .* set model\.layer=-1, or cut"):
        TimmTower(Backwards(module), spec).check_regions(160, 160)


def test_open_clips_joint_space_takes_no_regions(tmp_path: Path) -> None:
    spec = parse_model_name(f"open_clip:local-dir:{write_folder(tmp_path / 'clip', 'clip')}")
    with pytest.raises(ModelError, match="gives no patches"):
        load_region_embedder(describe(spec), RUNTIME)
    assert not hasattr(image_features(spec, torch.nn.Identity()), "check_regions")
