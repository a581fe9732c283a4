"""The resize kernel against the transforms that open_clip and timm themselves build."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import skimage.data
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from timm.data import create_transform

from operators.pixels.preprocess import Preprocess
from operators.pixels.resize import fit
from operators.pixels.resize_plan import plan

SIZES = [(640, 480), (480, 640), (533, 400), (711, 400), (337, 513), (1000, 333), (300, 301), (260, 1023)]
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@cache
def photo(height: int, width: int) -> np.ndarray:
    picture = Image.fromarray(skimage.data.astronaut())
    return np.array(picture.resize((width, height), Image.Resampling.LANCZOS))


def preprocess(resize: Any, size: tuple[int, int], to: tuple[int, int] | None = None, **more: Any) -> Preprocess:
    to = to or size
    values = {"interpolation": "bicubic", "mean": MEAN, "std": STD, **more}
    return Preprocess(height=size[0], width=size[1], resize=resize, resize_height=to[0], resize_width=to[1], **values)


def fitted(pixels: np.ndarray, how: Preprocess) -> np.ndarray:
    out = np.full((how.height, how.width, 3), 77, np.uint8)
    fit(pixels, how, out)
    return out


def reference(transform: Any, pixels: np.ndarray) -> np.ndarray:
    tensor = transform(Image.fromarray(pixels))
    return (tensor.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    error = float(((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean())
    return 10 * np.log10(255**2 / error) if error else 200.0


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_as_open_clip(shape: tuple[int, int], mode: Any, interpolation: Any) -> None:
    pixels = photo(*shape)
    config = PreprocessCfg(size=224, resize_mode=mode, interpolation=interpolation, mean=MEAN, std=STD, fill_color=9)
    how = preprocess(mode, (224, 224), interpolation=interpolation, fill=(9, 9, 9))
    assert psnr(fitted(pixels, how), reference(image_transform_v2(config, is_train=False), pixels)) >= 70


@pytest.mark.parametrize("shape", SIZES[2:6])
@pytest.mark.parametrize(("crop_mode", "resize"), [("center", "shortest"), ("squash", "squash"), ("border", "longest")])
@pytest.mark.parametrize(("size", "to"), [((224, 224), (248, 248)), ((192, 288), (213, 320))])
def test_as_timm(
    shape: tuple[int, int], crop_mode: str, resize: str, size: tuple[int, int], to: tuple[int, int]
) -> None:
    pixels = photo(*shape)
    transform = create_transform(
        (3, *size), crop_pct=0.9, crop_mode=crop_mode, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=STD
    )
    how = preprocess(resize, size, to, fill=tuple(round(255 * v) for v in (0.5, 0.4, 0.3)))
    expected = transform(Image.fromarray(pixels)).permute(1, 2, 0).numpy() + np.array((0.5, 0.4, 0.3))
    assert psnr(fitted(pixels, how), (expected * 255).round().astype(np.uint8)) >= 70


@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (100, 80), (224, 100), (100, 900)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_enlarging_is_exactly_pillows(shape: tuple[int, int], mode: Any) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    config = PreprocessCfg(size=224, resize_mode=mode, mean=MEAN, std=STD)
    expected = reference(image_transform_v2(config, is_train=False), pixels)
    if mode == "longest" and shape == (100, 900):
        assert psnr(fitted(pixels, preprocess(mode, (224, 224))), expected) >= 65  # shrinks pure noise
    else:
        np.testing.assert_array_equal(fitted(pixels, preprocess(mode, (224, 224))), expected)


def test_every_size_is_rounded_as_the_reference_rounds() -> None:
    """Each size differs from its neighbours in the last pixel only, so it is compared and not the picture."""
    from open_clip.transform import ResizeKeepRatio
    from torchvision.transforms.functional import _compute_resized_output_size

    random = np.random.default_rng(5)
    for height, width in random.integers(1, 3000, (2000, 2)).tolist():
        square = [span.scaled for span in plan(height, width, preprocess("shortest", (224, 224)))]
        assert square == _compute_resized_output_size((height, width), [224])
        image = Image.new("1", (width, height))
        for mode, longest in (("shortest", 0.0), ("longest", 1.0)):
            ours = [span.scaled for span in plan(height, width, preprocess(mode, (192, 288)))]
            theirs = ResizeKeepRatio.get_params(image, (192, 288), longest)
            assert ours == [max(length, 1) for length in theirs]


def test_same_size_is_left_alone() -> None:
    pixels = photo(224, 224)
    np.testing.assert_array_equal(fitted(pixels, preprocess("shortest", (224, 224))), pixels)


def test_nearest_is_exactly_pillows() -> None:
    pixels = photo(300, 300)
    expected = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(fitted(pixels, preprocess("squash", (224, 224), interpolation="nearest")), expected)


def test_padding_takes_the_fill_colour_and_a_crop_larger_than_the_image_too() -> None:
    pixels = np.full((100, 200, 3), 200, np.uint8)
    out = fitted(pixels, preprocess("longest", (50, 50), fill=(1, 2, 3)))
    assert out[0, 0].tolist() == out[-1, -1].tolist() == [1, 2, 3]
    assert out[25, 25].tolist() == [200, 200, 200]
    padded = fitted(pixels, preprocess("shortest", (61, 61), (30, 30)))
    assert (padded[:, :, 0] == 200).sum() == 30 * 60
    assert padded[14].max() == 0
    assert padded[15, 0, 0] == 200


def test_a_hair_thin_image_costs_no_gigabyte_and_gives_the_same_middle() -> None:
    column = np.arange(0, 20000, dtype=np.uint32)[:, None, None] // 80
    pixels = np.broadcast_to(column, (20000, 2, 3)).astype(np.uint8)
    how = preprocess("shortest", (224, 224))
    assert plan(20000, 2, how)[0].scaled == 2_240_000
    out = fitted(pixels, how)
    assert set(np.unique(out).tolist()) <= {124, 125}
    whole = np.asarray(Image.fromarray(pixels[9900:10100]).resize((224, 22400), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(out, whole[11200 - 112 : 11200 + 112])
