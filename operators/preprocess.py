"""How a model wants its pixels: size, resize, crop and normalisation, as its own library declares them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Resize = Literal["shortest", "longest", "squash"]


class Preprocess(BaseModel):
    """From an oriented sRGB image to the model's input.

    `resize` "shortest" scales the shorter side to `resize_height`/`resize_width` keeping the ratio, and crops the
    centre; "longest" scales the longer side to them and pads the centre with `fill`; "squash" scales both sides,
    ignoring the ratio. The result is then centre-cropped (or padded) to `height` x `width`, all in pixels.
    `mean` and `std` are for RGB in 0..1 and are applied by the model, not to the stored pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int
    width: int
    resize: Resize
    resize_height: int
    resize_width: int
    interpolation: Interpolation
    fill: tuple[int, int, int] = (0, 0, 0)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
