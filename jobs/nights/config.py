"""What a night is told: the embed job's own file, and a section for each step."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from jobs.config.embed import EmbedConfig
from jobs.nights.retry import StepRetries
from jobs.reports.drift import DriftThresholds
from pipelines.versions.prune import Keep

IfRunning = Literal["wait", "leave"]

_ONCE = ("overwrite", "abandon", "again", "retry_failed", "skip_existing")
"""Keys of the embed job's file that are for one run, and would do harm every night."""

_OF_THE_SPACE = ("model", "models", "reduce", "store_base")
"""Keys that say which columns a table is made with."""


class RefreshSection(BaseModel):
    """How the table follows its source; see `docs/refresh.md`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deleted: Literal["keep", "mark", "drop"] = "mark"
    """What becomes of rows whose image is gone."""
    max_deleted: float = Field(default=0.1, ge=0, le=1)
    """Share of the images that may be gone; above it the refresh is refused, and the night fails."""


class UpkeepSection(BaseModel):
    """How the table is kept in order; see `docs/versions.md`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_versions: str | None = "14d"
    """Versions that stay: a number, or an age; tagged ones stay as well."""
    drop_tags: bool = False
    """Drop the tags of nights that are older, too, so that what they alone hold is reclaimed."""

    @field_validator("keep_versions", mode="before")
    @classmethod
    def _is_understood(cls, value: Any) -> str | None:
        if value is None:
            return None
        Keep.parse(value)
        return str(value)


class GateSection(BaseModel):
    """What must hold of the live column every morning; see `docs/gates.md` for what the gates measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_index_recall: float | None = Field(default=None, gt=0, le=1)
    """Least index recall@10; default: what the index was built for."""
    sample: int = Field(default=200, ge=1)
    """Rows that serve as queries for it."""


class DriftSection(BaseModel):
    """How far the table may move from the night before; see `docs/drift.md`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: DriftThresholds = DriftThresholds()
    sample: int = Field(default=20_000, ge=1)
    """Rows compared a side, at most."""
    group: str | None = None
    """A column, or a field of a struct, for whose values all is compared too."""


class NightlyConfig(EmbedConfig):
    """A night. `source`, `table` and the settings of the model are those of `pixlake embed`, which makes the table in
    the first night; a section that is null leaves its step out."""

    name: str | None = Field(default=None, pattern=r"^[\w.-]+$")
    """What the table is called in metrics. Default: its name."""
    night: date = Field(default_factory=lambda: datetime.now(UTC).date())
    """The night's date, which is the name of its tag. Default: today's (UTC)."""
    if_running: IfRunning = "leave"
    """What to do while another night is running on the table."""
    metrics: str | None = None
    """File for Prometheus' text format."""
    retries: StepRetries = StepRetries()
    refresh: RefreshSection = RefreshSection()
    upkeep: UpkeepSection | None = UpkeepSection()
    gates: GateSection | None = GateSection()
    drift: DriftSection | None = DriftSection()

    @field_validator("night", mode="before")
    @classmethod
    def _is_a_date(cls, value: Any) -> Any:
        if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            raise ValueError("a night is named by its date: 2026-11-28")
        return value

    @model_validator(mode="before")
    @classmethod
    def _nothing_for_one_run_alone(cls, values: Any) -> Any:
        given = [key for key in _ONCE if isinstance(values, Mapping) and values.get(key)]
        if given:
            raise ValueError(
                f"{', '.join(given)} is for one run, and this file is run every night; use `pixlake embed`"
            )
        return values

    @model_validator(mode="after")
    def _all_of_the_source(self) -> "NightlyConfig":
        if self.source.limit is not None:
            raise ValueError("source.limit would take all other images for deleted; leave it out")
        return self

    @property
    def of_refresh(self) -> dict[str, Any]:
        """What the file says of the embed job, but for its models: a table that is there has its own, which a swap may
        have changed. Where the file says nothing, the table's record does."""
        ours = set(EmbedConfig.model_fields) - {"table", "storage", "table_storage", *_OF_THE_SPACE, *_ONCE}
        return self.model_dump(include=ours, exclude_unset=True)

    @property
    def embed(self) -> EmbedConfig:
        """The embed job that makes the table."""
        return EmbedConfig.model_validate({name: getattr(self, name) for name in EmbedConfig.model_fields})
