"""Preprocessing set by hand: over the model's own, in exact sizes, and never what cannot be meant."""

from typing import Any

import pytest
from pydantic import ValidationError

from operators.pixels.preprocess import Preprocess, PreprocessOverrides

OWN = Preprocess(
    height=224,
    width=224,
    resize="shortest",
    resize_height=235,
    resize_width=235,
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)


def test_nothing_set_changes_nothing() -> None:
    assert PreprocessOverrides().apply(OWN) == OWN


@pytest.mark.parametrize("name", ["resize", "interpolation", "fill", "mean", "std"])
def test_one_thing_set_changes_that_alone(name: str) -> None:
    values: dict[str, Any] = {
        "resize": "squash",
        "interpolation": "bilinear",
        "fill": (1, 2, 255),
        "mean": (0.1, 0.2, 0.3),
        "std": (1.0, 1.0, 2.0),
    }
    changed = PreprocessOverrides(**{name: values[name]}).apply(OWN)
    assert changed == OWN.model_copy(update={name: values[name]})


@pytest.mark.parametrize(
    ("given", "size", "resized"),
    [
        ({"image_size": 448}, (448, 448), (470, 470)),
        ({"image_size": (112, 448)}, (112, 448), (117, 470)),
        ({"crop_pct": 0.875}, (224, 224), (256, 256)),
        ({"crop_pct": 1.0}, (224, 224), (224, 224)),
        ({"image_size": 448, "crop_pct": 0.875}, (448, 448), (512, 512)),
    ],
)
def test_sizes(given: dict[str, Any], size: tuple[int, int], resized: tuple[int, int]) -> None:
    changed = PreprocessOverrides(**given).apply(OWN)
    assert (changed.height, changed.width) == size
    assert (changed.resize_height, changed.resize_width) == resized


@pytest.mark.parametrize(
    "given",
    [
        {"fill": (300, 0, 0)},
        {"fill": (-1, 0, 0)},
        {"std": (0.0, 1.0, 1.0)},
        {"std": (float("inf"), 1.0, 1.0)},
        {"mean": (float("nan"), 0.0, 0.0)},
        {"image_size": 0},
        {"image_size": (224, -1)},
        {"crop_pct": 0.0001},
        {"crop_pct": 1.1},
        {"interpolation": "lanczos"},
        {"size": 224},
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PreprocessOverrides(**given)
