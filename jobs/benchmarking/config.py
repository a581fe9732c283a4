"""What `pixlake benchmark` can be told: all that an embed job can, and what is measured on how many images."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from jobs.config.embed import EmbedConfig
from jobs.config.keep_columns import keep_named
from jobs.config.model_names import ModelConfig
from operators.base.columns import VECTOR
from pipelines.judging.words import TEMPLATES


def hourly_price(given: Any) -> Any:
    """`2.5/h` as 2.5; a number is one already. Raises `ValueError` for a price by anything but the hour."""
    if not isinstance(given, str):
        return given
    found = re.fullmatch(r"\s*[$€£]?\s*([\d.]+)\s*(?:/\s*(?:h|hour))?\s*", given)
    if not found:
        raise ValueError(f"{given!r}: write the price of an hour as 2.5/h")
    return found[1]


Price = Annotated[float | None, BeforeValidator(hourly_price), Field(gt=0, allow_inf_nan=False)]
"""What an hour of one machine costs, in any currency."""


class BenchmarkConfig(EmbedConfig):
    """Models compared on a sample of one source. The file of an embed job serves as it is: whole images are embedded,
    and no table is written."""

    table: str = ""
    """Of no use here."""
    sample: int = Field(default=2000, ge=20, le=20_000)
    """Images that are drawn, the same for all models."""
    changed: int = Field(default=200, ge=0)
    """Images of the sample that are changed in a dozen ways each; 0: none."""
    random_rows: int = Field(default=500, ge=0)
    """Images that the same network with random weights embeds; 0: none."""
    label: str | None = None
    """Manifest column of labels."""
    group: str | None = None
    """Manifest column: images with the same value in it never judge each other. Images with the same bytes never do."""
    caption: str | None = None
    """Manifest column of captions."""
    templates: tuple[str, ...] = Field(default=TEMPLATES, min_length=1)
    """Sentences around a class name, which stands for {}."""
    rows: int | None = Field(default=None, ge=1, le=1_000_000)
    """Rows of the table in which queries are timed; None: those of the images."""
    price: Price = None
    seed: int = Field(default=0, ge=0)
    page: str = "benchmark.html"
    """Path or URI of the HTML page."""
    plot: str | None = None
    """Path or URI of a PNG."""

    @model_validator(mode="before")
    @classmethod
    def _keep_what_is_read(cls, values: Any) -> Any:
        return keep_named(values, ("label", "group", "caption"))

    @model_validator(mode="after")
    def _templates_take_a_name(self) -> "BenchmarkConfig":
        for template in self.templates:
            if "{}" not in template:
                raise ValueError(f"templates: {template!r} has no {{}} for the class name")
        return self

    def kept(self, column: str) -> str:
        """The name that a column of the source has in its rows."""
        return self.source.rename.get(column, column)

    def called(self, column: str) -> str:
        """What a model is called in the results: its own name where there is one model, else what it was given."""
        return self.columns[column].name if column == VECTOR else column.removeprefix(f"{VECTOR}_")

    def alone(self, column: str) -> EmbedConfig:
        """The job with one of its models."""
        models: dict[str, ModelConfig] = {column.removeprefix(f"{VECTOR}_"): self.columns[column]}
        return self.model_copy(update={"model": None, "models": models, "regions": None, "reduce": {}})
