"""What a client may ask, and what it is told: every number has a bound."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, field_serializer, model_validator

from jobs.querying.asked import AskedPart
from jobs.reports.shown_values import json_ready
from pipelines.scan.bounded import check_bounded
from pipelines.search.example import By
from pipelines.search.regions import Box
from pipelines.space.flat import Metric

MOST_RESULTS = 500
_MOST_EXAMPLES = 32
_MOST_TEXT = 2_000
MOST_FILTER = 10_000

Condition = Annotated[str, Field(max_length=MOST_FILTER), AfterValidator(check_bounded)]
"""SQL on the table's columns."""
Weight = Annotated[FiniteFloat, Field(ge=-100, le=100)]


class AskedExample(BaseModel):
    """Words, an image that was sent, or a row of the table."""

    model_config = ConfigDict(extra="forbid")

    by: By
    value: Annotated[str, Field(min_length=1, max_length=_MOST_TEXT)]
    """Words; the name that `POST /api/images` gave; or an id."""
    weight: Weight = 1.0
    """Below 0 for what is not to be found."""
    box: Box | None = None
    """A part of an image, sent or of a row: x0, y0, x1, y1 in pixels, or in fractions of its sides if none is over
    1."""

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if not self.weight:
            raise ValueError("a weight is not 0: leave the example out")
        if self.box is not None and self.by == "text":
            raise ValueError("a box is a part of an image, and words have none")
        return self


class AskedSearch(BaseModel):
    """One query and how it is to be answered. What is left out is as `pixlake search` has it."""

    model_config = ConfigDict(extra="forbid")

    examples: Annotated[list[AskedExample], Field(min_length=1, max_length=_MOST_EXAMPLES)]
    k: int = Field(default=24, ge=1, le=MOST_RESULTS)
    where: Condition | None = None
    group: bool = False
    """Each image once, by its best region."""
    column: str | None = Field(default=None, max_length=_MOST_TEXT)
    rescore: str | None = Field(default=None, max_length=_MOST_TEXT)
    candidates: int | None = Field(default=None, ge=1, le=20_000)
    nprobes: int | None = Field(default=None, ge=1, le=100_000)
    refine: int | None = Field(default=None, ge=1, le=100)
    exact: bool = False

    @model_validator(mode="after")
    def _has_something_to_be_like(self) -> Self:
        if all(each.weight < 0 for each in self.examples):
            raise ValueError("give one example at least that the images are to be like")
        if self.candidates is not None and self.rescore is None:
            raise ValueError("candidates are of rescore: name the finer column")
        return self


class ServedRow(BaseModel):
    """A row of the table, without its vectors."""

    row: str
    """Its number in the table, under which its picture is found."""
    score: float | None = None
    values: dict[str, Any]
    region: dict[str, Any] | None = None
    """The part of the image that the row, or the result, stands for."""

    @field_serializer("values", "region")
    def _as_json(self, values: Any) -> Any:
        return json_ready(values)


class AnsweredSearch(BaseModel):
    """The rows found, the nearest first."""

    column: str
    rescored_by: str | None
    metric: Metric
    index: str | None
    version: int
    """The table's version that was searched."""
    query: list[AskedPart]
    seconds: float
    """How long the answer took here, waiting for other queries included."""
    results: list[ServedRow]


class RowsShown(BaseModel):
    """Rows in the order of the table."""

    version: int
    rows: list[ServedRow]
    more: bool
    """Whether there are further ones."""


class ImageSent(BaseModel):
    """An image that can be asked by."""

    image: str
    """Its name here, for `by: image`."""


class Refusal(BaseModel):
    """Why a request was not answered: what was wrong, and what to do."""

    error: str
