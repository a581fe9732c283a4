"""Which parts of an image get a vector of their own: the key `regions` of an embed job. No pixels and no torch here."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from operators.pixels.preprocess import Resize

Overlap = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
BoxFormat = Literal["xyxy", "xywh"]


class RegionsBase(BaseModel):
    """Options of regions of every kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Literal["rows", "multivector"] = "rows"
    """`rows`: the table has a row per region. `multivector`: a row per image, with a list of vectors."""
    without_regions: Literal["whole", "fail"] = "whole"
    """What becomes of an image without any region: the whole image is its one region, or its row fails as
    `no_regions`."""
    max_regions: PositiveInt = 64
    """Most regions of one image. A row with more fails as `too_many_regions`: none are left out silently."""

    @property
    def manifest_columns(self) -> tuple[str, ...]:
        """Columns that the manifest must have and `source.keep` must name."""
        return ()

    def record(self) -> dict[str, Any]:
        """Every option, JSON-ready: the key `regions` of the space."""
        return self.model_dump(mode="json")


class GridOptions(RegionsBase):
    """`rows` x `columns` cells of the same size, row by row."""

    kind: Literal["grid"]
    rows: PositiveInt
    columns: PositiveInt
    overlap: Overlap = 0.0
    """The part of a cell that it shares with the next, as a fraction of its side."""
    whole: bool = False
    """Whether the whole image is region 0, before the cells."""
    resize: Resize = "squash"
    """How a cut region is brought to the model's size."""

    @model_validator(mode="after")
    def _fits(self) -> "GridOptions":
        _check_count(self.rows * self.columns + self.whole, self.max_regions)
        return self


class TilesOptions(RegionsBase):
    """Square tiles of fixed sizes that cover the image, scale by scale in the order given, each row by row."""

    kind: Literal["tiles"]
    sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Sides in pixels of the oriented original."""
    overlap: Overlap = 0.0
    """The least part of a tile that it shares with the next, as a fraction of its side."""
    whole: bool = False
    """Whether the whole image is region 0, before the tiles."""
    resize: Resize = "squash"
    """How a cut region is brought to the model's size."""


class BoxesOptions(RegionsBase):
    """Boxes that a column of the manifest gives: a list of four numbers for each box."""

    kind: Literal["boxes"]
    column: str
    format: BoxFormat = "xyxy"
    """`xyxy`: left, top, right, bottom. `xywh`: left, top, width, height."""
    normalized: bool = False
    """Whether numbers are fractions (0 to 1) of the oriented image's width and height, instead of pixels."""
    labels: str | None = None
    """The column of the boxes' labels: a list of as many strings."""
    scores: str | None = None
    """The column of the boxes' scores: a list of as many numbers."""
    resize: Resize = "squash"
    """How a cut region is brought to the model's size."""

    @property
    def manifest_columns(self) -> tuple[str, ...]:
        return tuple(name for name in (self.column, self.labels, self.scores) if name is not None)


class DetectorOptions(RegionsBase):
    """What an object detection model finds, best score first."""

    kind: Literal["detector"]
    model: str
    """`torchvision:NAME/TAG`, `torchvision:NAME@PATH`, `transformers:OWNER/NAME` or `transformers:/FOLDER`."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    """Expected sha256 of the weights file; required for a pickle."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """The lowest score that is accepted."""
    classes: tuple[str | int, ...] = ()
    """Names of the model's classes, or their numbers; none: all classes."""
    largest: PositiveInt | None = None
    """Keep only so many of those over the threshold, the largest by area."""
    nms_iou: float | None = Field(default=None, gt=0, le=1)
    """Where boxes of one class overlap by more than this (IoU), the best one stays. None: torchvision's models do it at
    their own setting, those of transformers not at all."""
    image_size: PositiveInt = 800
    """Longer side in pixels of the image that the detector sees."""
    resize: Resize = "squash"
    """How a cut region is brought to the model's size."""


class PatchesOptions(RegionsBase):
    """Parts of the model's own token grid or feature map, from one forward pass: `cells` x `cells` of them, or the
    boxes of a manifest column."""

    kind: Literal["patches"]
    cells: PositiveInt | None = None
    column: str | None = None
    format: BoxFormat = "xyxy"
    normalized: bool = False
    labels: str | None = None
    scores: str | None = None

    @property
    def manifest_columns(self) -> tuple[str, ...]:
        return tuple(name for name in (self.column, self.labels, self.scores) if name is not None)

    @model_validator(mode="after")
    def _one_source(self) -> "PatchesOptions":
        if (self.cells is None) == (self.column is None):
            raise ValueError("patches take either cells (k, for k x k cells) or column (boxes of the manifest)")
        about_boxes = (self.format != "xyxy", self.normalized, self.labels, self.scores)
        if self.column is None and any(about_boxes):
            raise ValueError("format, normalized, labels and scores are about boxes of a manifest column: set column")
        if self.cells is not None:
            _check_count(self.cells**2, self.max_regions)
        return self


RegionOptions = Annotated[
    GridOptions | TilesOptions | BoxesOptions | DetectorOptions | PatchesOptions, Field(discriminator="kind")
]
CutOptions = Annotated[GridOptions | TilesOptions | BoxesOptions | DetectorOptions, Field(discriminator="kind")]
"""Regions that are cut out of the decoded image: each goes through the model by itself."""


def _check_count(count: int, max_regions: int) -> None:
    """Raises `ValueError` where every image would have more regions than are allowed."""
    if count > max_regions:
        raise ValueError(
            f"{count} regions of every image, more than max_regions = {max_regions}; set max_regions: {count}"
        )
