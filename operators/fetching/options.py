"""What a user may choose about fetching. `docs/fetching.md` explains every field."""

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from operators.fetching.addresses import parse_networks
from operators.storage.stores import NO_OPTIONS, StorageOptions

SCHEMES = ("http", "https", "s3", "gs", "az", "file")


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
    """Requests in flight to one http(s) host, of `max_concurrency`, which alone bounds those to object stores."""
    connect_s: float = Field(5.0, gt=0)
    first_byte_s: float = Field(10.0, gt=0)
    """Seconds to the first byte; also the longest pause within an http(s) body."""
    object_s: float = Field(30.0, gt=0)
    """Seconds for one attempt, from connecting to the last byte."""
    max_attempts: int = Field(5, gt=0)
    retry_s: float = Field(180.0, ge=0)
    """Seconds after the row's first attempt within which the last one must begin, waits for `max_bytes_in_flight` left
    out."""

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
