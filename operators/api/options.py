"""What a user may choose about a model that is asked over the network: where it is, how fast, and for how much."""

import os
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from operators.base.errors import UserError, clean_message

_NOT_IN_ENDPOINT = frozenset(" \\@?#")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ApiError(UserError):
    """The API cannot be asked as configured, or refuses this caller; no image is to blame for it."""


class ApiOptions(BaseModel):
    """Settings for API models. None of them changes a vector, so none is part of the space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]*([.:][a-z0-9-]+)*$")
    """The Google Cloud project that is billed; None takes GOOGLE_CLOUD_PROJECT of the machine that plans the run."""
    location: str = Field(default="us-central1", pattern=r"^[a-z0-9-]+$")
    endpoint: str | None = None
    """`https://HOST` in place of the provider's own, for a private endpoint. `http://` on this machine only (a
    server of one's own, as in the tests), and then no credentials are sent."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests a minute of all actors of the run together, retries included; None takes the lowest quota that the
    provider documents."""
    max_spend_usd: float | None = Field(default=None, ge=0)
    """US dollars. The run stops, resumably, before it would spend more; None: no cap."""
    usd_per_1000_images: float | None = Field(default=None, gt=0)
    """The price that the cap and the report count with; None takes the provider's list price."""
    max_concurrency: int = Field(default=32, gt=0)
    """Requests in flight in one actor."""
    connect_s: float = Field(default=5.0, gt=0)
    request_s: float = Field(default=30.0, gt=0)
    """Seconds for one attempt, from its turn in the quota to the last byte of the answer."""
    max_attempts: int = Field(default=5, gt=0)
    """Attempts in all. Being throttled (429) does not use them up: only `retry_s` ends that."""
    retry_s: float = Field(default=180.0, ge=0)
    """Seconds after the row's first attempt within which the last one must begin; waiting for the quota is left out."""

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value is None:
            return None
        # `urlsplit` drops line breaks and tabs without a word.
        parts = urlsplit(value) if value.isprintable() and not set(value) & _NOT_IN_ENDPOINT else None
        if parts is None or parts.scheme not in ("https", "http") or not parts.hostname or not _port_is_good(parts):
            raise ValueError(
                "must be https://HOST or https://HOST:PORT, or http:// the same on this machine, without a user name, "
                "query or fragment"
            )
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("plain http is for this machine (127.0.0.1) only: images and tokens go to an API by https")
        # The scheme in lower case: `anonymous` decides by it where a token goes.
        return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")

    @property
    def anonymous(self) -> bool:
        """Whether requests go without credentials, as they do to `http://`: a token is never sent unencrypted."""
        return self.endpoint is not None and self.endpoint.startswith("http://")


def _port_is_good(parts: SplitResult) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


NEEDS_EXTRA = "API models need an extra package, here and on every worker: pip install 'pixlake[vertex]'"
NO_API_OPTIONS = ApiOptions()


def resolved(options: ApiOptions) -> ApiOptions:
    """The options with the project filled in, checked for everything that a worker will need. Raises `ApiError`."""
    project = options.project or os.environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        raise ApiError("no Google Cloud project to bill: set api.project, or the environment's GOOGLE_CLOUD_PROJECT")
    if not options.anonymous and not _can_authenticate():
        raise ApiError(NEEDS_EXTRA)
    try:
        return ApiOptions.model_validate(options.model_dump() | {"project": project})
    except ValidationError:
        raise ApiError(
            f"the environment's GOOGLE_CLOUD_PROJECT is {clean_message(project)!r}, which is no project's id: mend it, "
            "or set api.project"
        ) from None


def _can_authenticate() -> bool:
    try:
        return find_spec("google.auth") is not None and find_spec("requests") is not None
    except ModuleNotFoundError:  # of the parent package
        return False
