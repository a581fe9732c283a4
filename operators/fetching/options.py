"""What a user may choose about fetching. `docs/fetching.md` explains every field."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from operators.fetching.addresses import parse_networks
from operators.storage.stores import NO_OPTIONS, StorageOptions

SCHEMES = ("http", "https", "s3", "gs", "az", "file")


class Waits(StrEnum):
    """How long a batch waits for its slowest rows."""

    EACH = "each"
    """For each row until it has used up its own time."""
    ASIDE = "aside"
    """Not for those that are slow where others are not, nor for those of a host that is given up: they are left
    undone."""
    LAST = "last"
    """For each row, but no row is tried again later than `retry_s` after the operator was built."""
    LAST_AND_LEAVE = "last_and_leave"
    """As `LAST`; rows of a host that is given up are left undone."""


class FetchOptions(BaseModel):
    """Schemes, folders and networks that may be read, and limits of one actor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schemes: tuple[str, ...] = SCHEMES
    allowed_roots: tuple[str, ...] = ()
    """Folders that `file:` URIs and plain paths may lie in, links resolved. None: no local file is read."""
    allowed_cidrs: tuple[str, ...] = ()
    """Networks that http(s) may connect to although they are not public."""
    storage: StorageOptions = NO_OPTIONS
    user_agent: str = Field("pixlake", pattern=r"^[ -~]+$")
    max_bytes: int = Field(32 << 20, gt=0)
    max_bytes_in_flight: int = Field(512 << 20, gt=0)
    """Bytes of all bodies being read at one time by one actor."""
    max_concurrency: int = Field(256, gt=0)
    """Requests in flight in one actor."""
    max_per_host: int = Field(32, gt=0)
    """Requests in flight to one http(s) host, of `max_concurrency`, which alone bounds those to a bucket. A host that
    refuses many is sent fewer at a time."""
    connect_s: float = Field(5.0, gt=0)
    first_byte_s: float = Field(10.0, gt=0)
    """Seconds to the first byte; also the longest pause within an http(s) body."""
    object_s: float = Field(30.0, gt=0)
    """Seconds for one attempt, from connecting to the last byte."""
    max_attempts: int = Field(5, gt=0)
    """Attempts that may fail for the object's own sake: its host serves others meanwhile."""
    retry_s: float = Field(180.0, ge=0)
    """Seconds after the row's first attempt within which the last one must begin, waits for its turn left out; and
    seconds for which a host may refuse everything."""
    aside_s: float = Field(3.0, gt=0)
    """Seconds after which a row that takes twice as long as is usual is set aside, for the others of its block to go
    on."""

    @field_validator("schemes")
    @classmethod
    def _check_schemes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(value) - set(SCHEMES):
            raise ValueError(f"unknown schemes {', '.join(sorted(unknown))}; known: {', '.join(SCHEMES)}")
        return value

    @field_validator("allowed_cidrs")
    @classmethod
    def _check_cidrs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_networks(value)
        return value

    @model_validator(mode="after")
    def _check_budget(self) -> "FetchOptions":
        if self.max_bytes_in_flight < self.max_bytes:
            raise ValueError("max_bytes_in_flight must be at least max_bytes")
        return self
