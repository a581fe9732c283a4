"""How a model wants its pixels: size, resize, crop and normalisation, as its own library declares them."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Resize = Literal["shortest", "longest", "squash"]
Level = Annotated[int, Field(ge=0, le=255)]
Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Preprocess(BaseModel):
    """The way from an oriented sRGB image to the model's input.

    `resize` "shortest" scales the shorter side to `resize_height`/`resize_width` keeping the ratio, and crops the
    centre; "longest" scales the longer side to them and pads the centre with `fill`; "squash" scales both sides,
    ignoring the ratio. The result is then centre-cropped (or padded) to `height` x `width`, all in pixels. `mean` and
    `std` are for RGB in 0..1 and are applied by the model, not to the stored pixels.
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

    @classmethod
    def square_pixels(cls, size: int, resize: Resize) -> "Preprocess":
        """Bicubic to `size` x `size`, with pixel values left as they are: for models that are not neural networks of
        ours."""
        return cls(
            height=size,
            width=size,
            resize=resize,
            resize_height=size,
            resize_width=size,
            interpolation="bicubic",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )


class PreprocessOverrides(BaseModel):
    """The user's values in place of the model's own preprocessing; None leaves a value as the library declares it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    """The model's input in pixels: the side of a square, or (height, width)."""
    resize: Resize | None = None
    crop_pct: float | None = Field(default=None, ge=0.1, le=1)
    """`height` and `width` as a fraction of the resized image: 0.875 resizes to 256 for an input of 224."""
    interpolation: Interpolation | None = None
    fill: tuple[Level, Level, Level] | None = None
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None = None
    std: tuple[Spread, Spread, Spread] | None = None

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels, where one is set."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    def apply(self, own: Preprocess) -> Preprocess:
        """`own` with the values set here. The model must already be built at `input_size`, so that `own` has that size.

        A `crop_pct` sets the size to resize to; without one the model's own ratio of resize to crop stays.
        """
        changes: dict[str, object] = {
            name: value
            for name in ("resize", "interpolation", "fill", "mean", "std")
            if (value := getattr(self, name)) is not None
        }
        height, width = self.input_size or (own.height, own.width)
        changes |= {
            "height": height,
            "width": width,
            "resize_height": self._resized(height, own.height, own.resize_height),
            "resize_width": self._resized(width, own.width, own.resize_width),
        }
        return own.model_copy(update=changes)

    def _resized(self, length: int, own_length: int, own_resized: int) -> int:
        if self.crop_pct is not None:
            return math.floor(length / self.crop_pct)
        # In integers: 224 / (224 / 235) is a little under 235.
        return length * own_resized // own_length
